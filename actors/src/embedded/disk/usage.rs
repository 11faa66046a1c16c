//! What a data directory takes on its disk: the blocks, not the lengths, since a new journal is mostly a hole.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A block as `stat` counts them, in bytes.
const BLOCK: u64 = 512;

/// The bytes of all blocks of all files below `dir`. Files that come and go meanwhile are no error.
pub(super) fn used(dir: &Path) -> io::Result<u64> {
    let mut used = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let gone = |error: &io::Error| error.kind() == ErrorKind::NotFound;
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => match self::used(&entry.path()) {
                Err(error) if gone(&error) => {}
                below => used += below?,
            },
            Ok(metadata) => used += metadata.blocks() * BLOCK,
            Err(error) if gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(used)
}
