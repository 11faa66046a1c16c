//! Why the data directory could not do what it was asked.

use std::io;
use std::path::{Path, PathBuf};

use telemill_engine::record::Reason;
use telemill_engine::stage::BuildError;
use thiserror::Error;

/// Why the data directory could not do what it was asked. Nothing was acknowledged.
#[derive(Clone, Debug, Error)]
pub enum DiskError {
    /// There is not enough room. Writes succeed again by themselves when there is.
    #[error("the disk of {dir} is full: {free} bytes are free; nothing is acknowledged until there is room")]
    Full {
        /// The data directory.
        dir: PathBuf,
        /// What is free on its file system, in bytes.
        free: u64,
    },
    /// The file system failed. The next write opens the directory anew.
    #[error("the data directory failed: {0}")]
    Io(String),
    /// Another process has the directory open.
    #[error("the data directory {0} is in use by another process: stop that one, or give this one another `dir`")]
    InUse(PathBuf),
    /// What is in the directory cannot be used, however often it is tried.
    #[error("{0}")]
    Broken(String),
    /// A closure that was to read or write panicked; nothing of it was written.
    #[error("an access to the data directory panicked")]
    Panicked,
    /// The directory is being closed.
    #[error("the data directory is closed")]
    Closed,
}

impl DiskError {
    /// Whether the same write will not succeed on the same handle, however often it is tried.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, DiskError::Broken(_) | DiskError::Panicked | DiskError::Closed)
    }

    /// The word for it in `retries_total`.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            DiskError::Full { .. } => Reason("disk_full"),
            _ => Reason("disk_failed"),
        }
    }

    /// An operation that failed while a directory was opened: for good where the file system says that it is the wrong
    /// place, as a path that is a file, or one that this user may not write to.
    pub(super) fn opening(dir: &Path, what: &str, error: &io::Error) -> Self {
        use io::ErrorKind::{AlreadyExists, InvalidFilename, InvalidInput, NotADirectory, PermissionDenied};
        match error.kind() {
            AlreadyExists | InvalidFilename | InvalidInput | NotADirectory | PermissionDenied => {
                DiskError::Broken(format!(
                    "{} cannot be the data directory: {what}: {error}; give `dir` a directory that this user may write to",
                    dir.display()
                ))
            }
            _ => DiskError::io(&format!("{what} {}", dir.display()), error),
        }
    }

    /// A failed file operation, which is [`DiskError::Full`] only where the directory's free room is known.
    pub(super) fn io(what: &str, error: &io::Error) -> Self {
        DiskError::Io(format!("{what}: {error}"))
    }
}

impl From<DiskError> for BuildError {
    fn from(error: DiskError) -> Self {
        match &error {
            DiskError::Broken(_) => BuildError::Impossible(error.to_string()),
            _ => BuildError::Unavailable(error.to_string()),
        }
    }
}

/// Whether the file system said that there is no room.
pub(super) fn is_full(error: &fjall::Error) -> bool {
    let io = match error {
        fjall::Error::Io(io) => io,
        fjall::Error::Storage(fjall::LsmError::Io(io)) => io,
        _ => return false,
    };
    matches!(io.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}
