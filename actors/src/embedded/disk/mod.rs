//! The data directory of the embedded default: one fjall database that log, device store and checkpoints share, so that
//! one atomic batch can cover all three.
//!
//! - **Exclusive.** One process has a directory; a second one is refused. Within a process everybody shares one handle.
//! - **Durable before answered.** [`Disk::write`] resolves when what the closure wrote is on the disk, with an fdatasync
//!   behind it; what is submitted meanwhile goes together, with one fdatasync (group commit).
//! - **Serial.** Closures run one after the other, each sees what those before it wrote, and the writes of one that
//!   refuses are taken back. So a condition that a closure checks holds for what it writes.
//! - **Full is not the end.** Without room nothing is acknowledged ([`DiskError::Full`]); with room again, writes
//!   succeed again by themselves.
//! - **Never on an arbiter.** Closures block; they run on the writer's own thread and on tokio's blocking pool.

mod error;
mod opened;
mod tail;
#[cfg(test)]
mod tests;
mod tx;
mod usage;
mod writer;

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::task::{Context, Poll};
use std::thread::JoinHandle;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

pub use error::DiskError;
pub use tx::{KeyRange, Read, Rows, Tx, View};

use opened::Opened;
use writer::{Job, Shared, Submitted, Writer};

/// A space of keys of its own within the directory, by name: lower-case letters and `_`. It comes into being with the
/// first row that is written to it, and reads as empty before. The names in use are in `docs/formats.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space(pub &'static str);

impl Space {
    /// Whether it is kept as a long run of rows that is read by ranges.
    #[cfg(test)]
    pub(crate) fn is_run(self) -> bool {
        opened::is_run(self.0)
    }
}

/// A key and its value.
pub type Row = (Bytes, Bytes);

/// How many writes may wait; beyond it callers wait for room before they wait for their turn.
const QUEUE: usize = 1024;

/// A data directory, open. Closed when the last handle is dropped and everything submitted is done.
pub struct Disk {
    dir: PathBuf,
    shared: Shared,
    jobs: mpsc::Sender<Box<dyn Job>>,
    attached: Mutex<HashMap<TypeId, Weak<dyn Any + Send + Sync>>>,
    /// As last measured.
    usage: Mutex<Option<Usage>>,
}

/// The outcome of a write that has its place in the queue.
pub struct Answer<T, E>(oneshot::Receiver<Result<T, E>>);

impl<T, E: From<DiskError>> Future for Answer<T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|answer| answer.unwrap_or_else(|_| Err(DiskError::Closed.into())))
    }
}

/// Directories by path: the handle, and the writer's thread, which closes the directory.
type Disks = HashMap<PathBuf, (Weak<Disk>, JoinHandle<()>)>;

/// The directories that this process has open, or is about to close.
static DISKS: Mutex<Option<Disks>> = Mutex::new(None);

impl Disk {
    /// Opens a directory, made where it is missing; the same handle for all who ask while it is open.
    ///
    /// `min_free` bytes of its file system are kept free: below, writes are refused with [`DiskError::Full`], so that
    /// there is room to tidy up in. The first who opens a directory sets it.
    pub async fn open(dir: &Path, min_free: u64) -> Result<Arc<Disk>, DiskError> {
        let dir = dir.to_owned();
        let opened = tokio::task::spawn_blocking(move || Self::open_blocking(&dir, min_free));
        opened.await.unwrap_or(Err(DiskError::Panicked))
    }

    fn open_blocking(dir: &Path, min_free: u64) -> Result<Arc<Disk>, DiskError> {
        let path = opened::made(dir)?;
        // Held over the opening, so that two who ask at once get one handle.
        let mut disks = DISKS.lock().unwrap_or_else(PoisonError::into_inner);
        let disks = disks.get_or_insert_default();
        if let Some((disk, thread)) = disks.remove(&path) {
            if let Some(open) = disk.upgrade() {
                disks.insert(path, (disk, thread));
                return Ok(open);
            }
            // Its last handle is gone, and its writer closes it.
            let _ = thread.join();
        }
        let shared: Shared = Arc::new(RwLock::new(Some(Opened::open(&path)?)));
        let (jobs, queue) = mpsc::channel(QUEUE);
        let writer = Writer { dir: path.clone(), min_free, shared: shared.clone(), jobs: queue, down: None };
        let thread = std::thread::Builder::new().name("disk".to_owned()).spawn(move || writer.run());
        let thread = thread.map_err(|error| DiskError::io("starting the writer", &error))?;
        let disk =
            Arc::new(Disk { dir: path.clone(), shared, jobs, attached: Mutex::default(), usage: Mutex::default() });
        disks.insert(path, (Arc::downgrade(&disk), thread));
        Ok(disk)
    }

    /// The directory, with its links resolved.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The bytes of a space's tables; what is only in the journal yet is not among them. For metrics.
    pub fn space_bytes(&self, space: Space) -> u64 {
        let opened = self.shared.read().unwrap_or_else(PoisonError::into_inner);
        opened.as_ref().and_then(|opened| opened.space(space)).map_or(0, |keyspace| keyspace.disk_space())
    }

    /// Runs a closure within the next group and resolves with its result when the group is durable. An `Err` of the
    /// closure takes back its writes, and is given out when what it may have read is durable.
    ///
    /// Once this was polled the closure may run even if the future is dropped. What the closure does must be quick: all
    /// who write wait for it. It must not wait for another write.
    ///
    /// Errors of the disk come as `E`: nothing of the closure is written. (Where the directory cannot even be opened
    /// again after a failure, that is not known until it can be.)
    pub async fn write<T, E, F>(&self, closure: F) -> Result<T, E>
    where
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DiskError> + Send + 'static,
    {
        self.submit(closure, false).await
    }

    /// As [`Disk::write`], for what makes room: it may use the room that is kept free.
    pub async fn tidy<T, E, F>(&self, closure: F) -> Result<T, E>
    where
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DiskError> + Send + 'static,
    {
        self.submit(closure, true).await
    }

    async fn submit<T, E, F>(&self, closure: F, reserve: bool) -> Result<T, E>
    where
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DiskError> + Send + 'static,
    {
        let (job, answer) = Submitted::new(closure, reserve);
        self.jobs.send(Box::new(job)).await.map_err(|_| DiskError::Closed)?;
        Answer(answer).await
    }

    /// As [`Disk::write`] in two steps: this resolves when the closure has its place in the queue, what it gives when
    /// the write is durable. For who has several writes in flight and keeps them in order.
    pub async fn enqueue<T, E, F>(&self, closure: F) -> Result<Answer<T, E>, DiskError>
    where
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DiskError> + Send + 'static,
    {
        let (job, answer) = Submitted::new(closure, false);
        self.jobs.send(Box::new(job)).await.map_err(|_| DiskError::Closed)?;
        Ok(Answer(answer))
    }

    /// What everybody who uses this directory shares of a kind, made by the first who asks for as long as somebody
    /// keeps it: the present ends of the log, for one, and who waits for them to move.
    pub fn shared<T: Send + Sync + 'static>(&self, make: impl FnOnce() -> Arc<T>) -> Arc<T> {
        let mut attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
        let known = attached.get(&TypeId::of::<T>()).and_then(Weak::upgrade);
        if let Some(known) = known.and_then(|known| known.downcast::<T>().ok()) {
            return known;
        }
        let made = make();
        let any: Arc<dyn Any + Send + Sync> = made.clone();
        attached.insert(TypeId::of::<T>(), Arc::downgrade(&any));
        made
    }

    /// Runs a closure on what is durable, on a blocking thread.
    pub async fn read<T, E, F>(&self, closure: F) -> Result<T, E>
    where
        F: FnOnce(&View<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DiskError> + Send + 'static,
    {
        let shared = self.shared.clone();
        let read = tokio::task::spawn_blocking(move || {
            let opened = shared.read().unwrap_or_else(PoisonError::into_inner);
            let opened = opened.as_ref().ok_or_else(|| DiskError::Io("it could not be opened again".to_owned()))?;
            closure(&View::new(opened))
        });
        read.await.map_err(|_| DiskError::Panicked)?
    }

    /// Measures what the directory takes on its disk, and what is free there. It looks at every file.
    pub async fn measure(&self) -> Result<Usage, DiskError> {
        let dir = self.dir.clone();
        let measured = tokio::task::spawn_blocking(move || {
            usage::used(&dir)
                .map(|used| Usage { used, free: opened::free(&dir) })
                .map_err(|error| DiskError::io(&format!("measuring {}", dir.display()), &error))
        });
        let usage = measured.await.map_err(|_| DiskError::Panicked)??;
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner) = Some(usage);
        Ok(usage)
    }

    /// What [`Disk::measure`] found last; none before the first time. The log measures every few seconds.
    pub fn usage(&self) -> Option<Usage> {
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a data directory takes, and what its disk has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Blocks of its files, in bytes.
    pub used: u64,
    /// Free for it on the file system, in bytes.
    pub free: u64,
}
