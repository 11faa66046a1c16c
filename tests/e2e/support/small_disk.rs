//! A small disk in memory, to be filled up.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use telemill_services::unique_name;

/// A disk that is mounted in a namespace of its own, so that no rights are needed for it: only [`SmallDisk::command`]s see
/// it under its path. It goes with its value.
pub struct SmallDisk {
    dir: PathBuf,
    /// Keeps the namespace. It ends with its standard input, and so with the test, however that ends.
    holder: Child,
}

impl SmallDisk {
    /// `size` as `mount` takes it, such as `64m`.
    pub fn new(test: &str, size: &str) -> SmallDisk {
        let dir = std::env::temp_dir().join(unique_name(test));
        fs::create_dir_all(&dir).expect("a temporary directory can be made");
        let hold = format!(r#"mount -t tmpfs -o size={size} tmpfs "$0" && echo mounted && exec cat"#);
        let mut holder = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", &hold])
            .arg(&dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("`unshare` of util-linux is there");
        let mut said = String::new();
        let read = BufReader::new(holder.stdout.take().expect("it is piped")).read_line(&mut said);
        assert_eq!((read.ok(), &*said), (Some(8), "mounted\n"), "a disk in memory can be mounted");
        SmallDisk { dir, holder }
    }

    /// Its path, for those who see it.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Becomes what its arguments say, and sees the disk.
    pub fn command(&self) -> Command {
        let mut command = Command::new("nsenter");
        let holder = self.holder.id().to_string();
        command.args(["--target", &holder, "--user", "--mount", "--preserve-credentials"]);
        command
    }

    /// Takes all the room that is left.
    pub fn fill(&self) {
        let mut file = File::create(self.filler()).expect("the disk can be written");
        let block = vec![7; 64 * 1024];
        let error = loop {
            if let Err(error) = file.write_all(&block) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    }

    /// Gives that room back.
    pub fn empty(&self) {
        fs::remove_file(self.filler()).expect("it was filled");
    }

    /// What fills it, as it is seen from outside.
    fn filler(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.dir.strip_prefix("/").expect("it is absolute")).join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}
