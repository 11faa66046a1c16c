//! The fjall database of a directory while it is open.
//!
//! A failed write poisons a fjall database, and so does a flush or compaction in the background that fails: from then on
//! it takes nothing, and the only way on is to open it again. What a failed commit left is told by the number of the
//! group, which is written with it: after opening again either all of the group is there or nothing.

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fjall::compaction::Leveled;
use fjall::config::{BlockSizePolicy, FilterPolicy};
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Snapshot};

use uuid::Uuid;

use super::error::{DiskError, is_full};
use super::tail;
use super::tx::{Tx, View, Written, slices};
use super::{Read, Space};

/// The version of the directory's form (`docs/formats.md`, "Embedded data directory").
const VERSION: &[u8] = b"3";
/// The forms that are read, too. With the first write the directory has the present one: programs that know only an older
/// form would pass over what they cannot read.
const READ: [&[u8]; 2] = [b"1", b"2"];
const DISK: Space = Space("disk");
const VERSION_KEY: &[u8] = b"version";
const GROUP_KEY: &[u8] = b"group";

/// Of a space in memory before it is written out as a table.
const MEMTABLE: u64 = 16 << 20;
/// Of all journals; beyond it the spaces that hold the oldest one are written out.
const JOURNALS: u64 = 128 << 20;
/// Blocks of tables kept in memory.
const CACHE: u64 = 32 << 20;
/// Threads that write tables. With two of them one spins for as long as the other merges (fjall 3.1: the first hands every
/// merge on, to whoever is free).
const WORKERS: usize = 4;
/// The spaces of long runs of rows, which are read by ranges.
const RUNS: [&str; 2] = ["log", "history"];
/// Of a run in memory: merging is most of what a record costs in the long run, and comes half as often.
const RUN_MEMTABLE: u64 = 32 << 20;
/// Of a run's blocks, 4 KiB elsewhere: fewer to find and to check.
const RUN_BLOCK: u32 = 16 << 10;
/// Of a run's tables, 64 MiB elsewhere: fewer of them overlap.
const RUN_TABLE: u64 = 32 << 20;

/// Bytes that are in every group of a directory, chosen at random when it was made.
pub(super) type Mark = [u8; 16];

pub(super) struct Opened {
    dir: PathBuf,
    spaces: Vec<(Box<str>, Keyspace)>,
    /// The last group committed. Only the writer changes it.
    group: AtomicU64,
    /// The version is written, and is the present one.
    has_version: AtomicBool,
    mark: Mark,
    db: Database,
}

impl Opened {
    /// Opens a directory, which is made where it is missing. Blocks.
    pub(super) fn open(dir: &Path) -> Result<Opened, DiskError> {
        let dir = made(dir)?;
        // fjall takes the lock after it has begun to write, and a torn tail is cut before: so it is held until then.
        let lock = lock(&dir)?;
        let mark = mark(&dir)?;
        tail::cut_torn(&dir, &mark)?;
        drop(lock);
        let db = Database::builder(&dir)
            .max_journaling_size(JOURNALS)
            // What is journalled goes to a table soon, and compressing it took a fifth of the writer's time.
            .journal_compression(CompressionType::None)
            .cache_size(CACHE)
            .worker_threads(WORKERS)
            .open();
        let db = db.map_err(|error| failed(&dir, "opening", &error))?;
        let mut spaces = Vec::new();
        for name in db.list_keyspace_names() {
            let keyspace = db.keyspace(&name, || options(&name)).map_err(|error| failed(&dir, "opening", &error))?;
            spaces.push((Box::from(&*name), keyspace));
        }
        let opened = Opened { dir, spaces, group: AtomicU64::new(0), has_version: AtomicBool::new(false), mark, db };
        let view = View::new(&opened);
        let (version, group) = (view.get(DISK, VERSION_KEY)?, view.get(DISK, GROUP_KEY)?);
        drop(view);
        let is_present = version.as_deref() == Some(VERSION);
        if let Some(other) = version.filter(|version| !is_present && !READ.contains(&&**version)) {
            return Err(DiskError::Broken(format!(
                "the data directory {} has form {}, but this program knows {}: use the program that wrote it",
                opened.dir.display(),
                other.escape_ascii(),
                VERSION.escape_ascii()
            )));
        }
        let group = group.and_then(|group| Some(u64::from_be_bytes(group.get(..8)?.try_into().ok()?)));
        opened.group.store(group.unwrap_or(0), Ordering::Relaxed);
        opened.has_version.store(is_present, Ordering::Relaxed);
        Ok(opened)
    }

    /// Closes it, and returns when nothing of it is left: fjall's threads may hold the journal for a moment longer, and
    /// what they flush then must not meet a new owner.
    pub(super) fn close(self) {
        let dir = self.dir.clone();
        drop(self);
        let deadline = Instant::now() + Duration::from_secs(10);
        while is_held_here(&dir) && Instant::now() < deadline {
            pause(Duration::from_millis(1));
        }
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        self.db.snapshot()
    }

    pub(super) fn space(&self, space: Space) -> Option<&Keyspace> {
        self.spaces.iter().find(|(name, _)| **name == *space.0).map(|(_, keyspace)| keyspace)
    }

    /// The last group that is durable.
    pub(super) fn group(&self) -> u64 {
        self.group.load(Ordering::Relaxed)
    }

    pub(super) fn failed(&self, what: &str, error: &fjall::Error) -> DiskError {
        failed(&self.dir, what, error)
    }

    /// Whether all spaces of a write are there.
    pub(super) fn has_spaces(&self, rows: &[(Space, Written)]) -> bool {
        rows.iter().map(|(space, _)| *space).chain([DISK]).all(|space| self.space(space).is_some())
    }

    /// Makes the spaces of a write that are not there yet.
    pub(super) fn make_spaces(&mut self, rows: &[(Space, Written)]) -> Result<(), DiskError> {
        for space in rows.iter().map(|(space, _)| *space).chain([DISK]) {
            if self.space(space).is_none() {
                let made = self.db.keyspace(space.0, || options(space.0));
                let made = made.map_err(|error| self.failed("making a space", &error))?;
                self.spaces.push((space.0.into(), made));
            }
        }
        Ok(())
    }

    /// Writes a group as one atomic batch; it is durable when this returns. All its spaces are there.
    pub(super) fn commit(&self, rows: Vec<(Space, Written)>) -> Result<(), DiskError> {
        self.wait_for_flushes()?;
        let group = self.group() + 1;
        let count: usize = rows.iter().map(|(_, rows)| rows.len()).sum();
        let mut batch =
            OwnedWriteBatch::with_capacity(self.db.clone(), count + 2).durability(Some(PersistMode::SyncData));
        for (space, rows) in rows {
            let Some(keyspace) = self.space(space) else { continue };
            for (key, value) in slices(rows) {
                match value {
                    Some(value) => batch.insert(keyspace, key, value),
                    None => batch.remove(keyspace, key),
                }
            }
        }
        if let Some(disk) = self.space(DISK) {
            if !self.has_version.load(Ordering::Relaxed) {
                batch.insert(disk, VERSION_KEY, VERSION);
            }
            batch.insert(disk, GROUP_KEY, [&group.to_be_bytes()[..], &self.mark].concat());
        }
        batch.commit().map_err(|error| self.failed("writing", &error))?;
        self.group.store(group, Ordering::Relaxed);
        self.has_version.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Waits until what is full in memory is on its way to the disk. fjall would wait, too, but for ever where the
    /// threads that should write it have failed.
    fn wait_for_flushes(&self) -> Result<(), DiskError> {
        let is_behind = |keyspace: &Keyspace| {
            is_behind(keyspace.sealed_memtable_count(), keyspace.l0_table_count(), self.db.active_compactions() > 0)
        };
        while self.spaces.iter().any(|(_, keyspace)| is_behind(keyspace)) {
            self.db.persist(PersistMode::Buffer).map_err(|error| self.failed("writing", &error))?;
            pause(Duration::from_millis(2));
        }
        Ok(())
    }

    /// A write in the making.
    pub(super) fn begin(&self) -> Tx<'_> {
        Tx::new(self)
    }
}

/// Whether to write no more to a space before some of what was written is dealt with: full memtables, and tables that are
/// not merged. fjall looks for something to merge when a memtable was flushed, and at no other time: where nothing is being
/// merged only the next flush helps, and that takes writes.
fn is_behind(full: usize, unmerged: usize, merging: bool) -> bool {
    full >= 2 || (unmerged >= 16 && merging)
}

/// Whether a space holds a long run of rows.
pub(super) fn is_run(name: &str) -> bool {
    RUNS.contains(&name)
}

/// How a space is made. One that is there stays as it was made.
fn options(name: &str) -> KeyspaceCreateOptions {
    let options = KeyspaceCreateOptions::default();
    if !is_run(name) {
        return options.max_memtable_size(MEMTABLE);
    }
    options
        .max_memtable_size(RUN_MEMTABLE)
        // A filter tells whether a table may have one key, which is asked only for records without a position.
        .filter_policy(FilterPolicy::disabled())
        .data_block_size_policy(BlockSizePolicy::all(RUN_BLOCK))
        .compaction_strategy(Arc::new(Leveled::default().with_table_target_size(RUN_TABLE)))
}

fn failed(dir: &Path, what: &str, error: &fjall::Error) -> DiskError {
    match error {
        fjall::Error::Locked => DiskError::InUse(dir.to_owned()),
        fjall::Error::JournalRecovery(_)
        | fjall::Error::InvalidVersion(_)
        | fjall::Error::InvalidTrailer
        | fjall::Error::InvalidTag(_)
        | fjall::Error::Unrecoverable => DiskError::Broken(format!(
            "the data directory {} cannot be read ({error:?}): put back a copy of it, or move it away to begin anew",
            dir.display()
        )),
        // Poisoned by a thread in the background, which said why only in its log: most likely there is no room.
        error if is_full(error) || (matches!(error, fjall::Error::Poisoned) && free(dir) < JOURNALS) => full(dir),
        error => DiskError::Io(format!("{what} in {}: {error:?}", dir.display())),
    }
}

pub(super) fn full(dir: &Path) -> DiskError {
    DiskError::Full { dir: dir.to_owned(), free: free(dir) }
}

/// The bytes that are free on the file system of a directory; none where that cannot be told.
pub(super) fn free(dir: &Path) -> u64 {
    rustix::fs::statvfs(dir).map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Makes a directory where it is missing; its path with links resolved.
pub(super) fn made(dir: &Path) -> Result<PathBuf, DiskError> {
    fs::create_dir_all(dir).map_err(|error| DiskError::opening(dir, "making it", &error))?;
    dir.canonicalize().map_err(|error| DiskError::opening(dir, "reading it", &error))
}

/// Takes the lock of a directory; none where fjall has not made it yet. [`DiskError::InUse`] when another process, or
/// another handle of this one, has it.
fn lock(dir: &Path) -> Result<Option<File>, DiskError> {
    let path = dir.join("lock");
    let Ok(file) = fs::OpenOptions::new().read(true).write(true).open(&path) else { return Ok(None) };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Err(DiskError::InUse(dir.to_owned())),
        Err(fs::TryLockError::Error(error)) => Err(DiskError::io(&format!("locking {}", path.display()), &error)),
    }
}

/// The directory's mark, which is made with it and is durable before the first group.
fn mark(dir: &Path) -> Result<Mark, DiskError> {
    let path = dir.join("mark");
    match fs::read(&path) {
        Ok(mark) if mark.len() == size_of::<Mark>() => return Ok(std::array::from_fn(|at| mark[at])),
        // One that was not written whole was never used.
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(DiskError::opening(dir, "reading its mark", &error)),
    }
    let mark = *Uuid::new_v4().as_bytes();
    let made =
        fs::write(&path, mark).and_then(|()| File::open(&path)?.sync_all()).and_then(|()| File::open(dir)?.sync_all());
    made.map_err(|error| DiskError::opening(dir, "writing its mark", &error))?;
    Ok(mark)
}

/// Whether this process has a file of the directory open.
fn is_held_here(dir: &Path) -> bool {
    let Ok(open) = fs::read_dir("/proc/self/fd") else { return false };
    open.flatten()
        .filter_map(|fd| fs::read_link(fd.path()).ok())
        .any(|path| path.starts_with(dir) && !path.as_os_str().as_bytes().ends_with(b" (deleted)"))
}

#[expect(clippy::disallowed_methods, reason = "on the writer's own thread, where nothing else could run meanwhile")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use super::is_behind;

    #[test]
    fn writing_waits_only_for_what_comes_without_it() {
        assert!(is_behind(2, 0, false), "a flush is on its way");
        assert!(is_behind(0, 16, true), "a merge is");
        assert!(!is_behind(0, 100, false), "nothing would come");
        assert!(!is_behind(1, 15, true));
    }
}
