//! Where a subject keeps its data: a directory on a disk, gone with its value.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use telemill_services::unique_name;

/// The kind of a file system in memory, as `statfs` tells it.
const TMPFS: u64 = 0x0102_1994;
/// A block as `stat` counts them, in bytes.
const BLOCK: u64 = 512;

/// A directory of the benchmark's own.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes one below the build directory, which is refused where an fsync would cost nothing.
    pub fn new() -> anyhow::Result<Scratch> {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique_name("embedded"));
        fs::create_dir_all(&dir).with_context(|| format!("{} cannot be made", dir.display()))?;
        let scratch = Scratch(dir);
        let kind = rustix::fs::statfs(scratch.path()).context("the file system cannot be told")?.f_type;
        ensure!(kind as u64 != TMPFS, "{} is in memory: nothing there is durable", scratch.path().display());
        Ok(scratch)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left is below the build directory.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a data directory takes on its disk, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bytes {
    /// Journals: everything in the order in which it was written, until the tables have it.
    pub journals: u64,
    /// Everything else: the tables, and what lists them.
    pub tables: u64,
}

impl Bytes {
    /// The blocks, not the lengths, since a journal is made longer than what is in it. Files that come and go meanwhile
    /// are no error.
    pub fn of(dir: &Path) -> anyhow::Result<Bytes> {
        let mut bytes = Bytes::default();
        bytes.add(dir).with_context(|| format!("{} cannot be measured", dir.display()))?;
        Ok(bytes)
    }

    fn add(&mut self, dir: &Path) -> std::io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let gone = |error: &std::io::Error| error.kind() == ErrorKind::NotFound;
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => match self.add(&entry.path()) {
                    Err(error) if gone(&error) => {}
                    below => below?,
                },
                Ok(metadata) => {
                    let is_journal = entry.path().extension().is_some_and(|extension| extension == "jnl");
                    let part = if is_journal { &mut self.journals } else { &mut self.tables };
                    *part += metadata.blocks() * BLOCK;
                }
                Err(error) if gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
