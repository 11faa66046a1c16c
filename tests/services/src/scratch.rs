//! A directory for the files of one server.
//!
//! It goes with its value, stays after a failed test, and what a process could not remove (the shared services live in
//! statics, which are never dropped; a killed process drops nothing) is removed by the next process that makes one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context as _;

#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// An empty directory, named after the owning process so that leftovers are known as such.
    pub(crate) fn new(kind: &str) -> anyhow::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        static SWEEP: Once = Once::new();

        let base = std::env::temp_dir().join("telemill-services");
        SWEEP.call_once(|| remove_leftovers(&base));
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = base.join(format!("{}-{kind}-{number}", process::id()));
        fs::create_dir_all(&path).with_context(|| format!("cannot make the scratch directory {}", path.display()))?;
        Ok(Self { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the server's output goes.
    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// The end of the server's output, for an error message.
    pub(crate) fn log_tail(&self) -> String {
        let log = fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Out of the sweep's reach: that takes only names which start with a process id.
            let name = self.path.file_name().unwrap_or_default().to_string_lossy();
            let kept = self.path.with_file_name(format!("failed-{name}"));
            let place = fs::rename(&self.path, &kept).map_or(&self.path, |()| &kept);
            eprintln!("the server's files and log stay in {}", place.display());
        } else {
            // A file that cannot be removed now is the sweep's.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Removes the directories whose process is gone. Their servers went with it.
fn remove_leftovers(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.split('-').next());
        let Some(owner) = owner.and_then(|owner| owner.parse::<u32>().ok()) else {
            continue;
        };
        if !Path::new(&format!("/proc/{owner}")).exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_with_its_value_and_stays_after_a_panic() {
        let scratch = Scratch::new("test").unwrap();
        let path = scratch.path().to_owned();
        drop(scratch);
        assert!(!path.exists());

        let scratch = Scratch::new("test").unwrap();
        let name = scratch.path().file_name().unwrap().to_owned();
        let kept = scratch.path().with_file_name(format!("failed-{}", name.display()));
        fs::write(scratch.log(), "why").unwrap();
        std::thread::spawn(move || {
            let _owned = scratch;
            panic!("a failing test");
        })
        .join()
        .unwrap_err();
        assert_eq!(fs::read_to_string(kept.join("log")).unwrap(), "why");
        fs::remove_dir_all(kept).unwrap();
    }

    #[test]
    fn leftovers_of_dead_processes_go_and_all_else_stays() {
        let base = std::env::temp_dir().join(format!("telemill-sweep-{}", process::id()));
        // No process has this id: Linux counts to 4,194,304 at most.
        let dead = base.join("4194305-redis-0");
        let alive = base.join(format!("{}-redis-0", process::id()));
        let failed = base.join("failed-4194305-redis-1");
        for dir in [&dead, &alive, &failed] {
            fs::create_dir_all(dir).unwrap();
        }
        remove_leftovers(&base);
        assert!(!dead.exists() && alive.exists() && failed.exists());
        fs::remove_dir_all(base).unwrap();
    }
}
