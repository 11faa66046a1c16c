//! The one thread that writes to a data directory.
//!
//! What has been submitted while the last group was on its way to the disk is the next group: one batch, one fdatasync, and
//! only then every caller hears its result. A closure that refuses or panics takes back its own writes; a group that
//! cannot be written is answered with the reason, and the directory is opened anew, at once and then at most every
//! [`REOPEN_EVERY`] while writes keep coming.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use telemill_engine::faults;
use tokio::sync::{mpsc, oneshot};

use super::Space;
use super::error::DiskError;
use super::opened::{Opened, free, full};
use super::tail;
use super::tx::{Tx, Written};

/// What a group holds at most, by closures and by bytes.
const GROUP: usize = 1024;
const GROUP_BYTES: usize = 8 << 20;
const REOPEN_EVERY: Duration = Duration::from_secs(1);

/// The open database; none while it has failed. Readers share it, opening anew waits for them.
pub(super) type Shared = Arc<RwLock<Option<Opened>>>;

/// A submitted closure, its type forgotten.
pub(super) trait Job: Send {
    /// Runs the closure; whether its writes are to be kept.
    fn run(&mut self, tx: &mut Tx<'_>) -> bool;
    /// Answers: the closure's own result where the group is durable.
    fn answer(&mut self, durable: Result<(), DiskError>);
    /// Whether it may use the room that is kept back.
    fn may_use_reserve(&self) -> bool;
}

pub(super) struct Submitted<F, T, E> {
    closure: Option<F>,
    result: Option<Result<T, E>>,
    reply: Option<oneshot::Sender<Result<T, E>>>,
    reserve: bool,
}

impl<F, T, E> Submitted<F, T, E> {
    pub(super) fn new(closure: F, reserve: bool) -> (Self, oneshot::Receiver<Result<T, E>>) {
        let (reply, answer) = oneshot::channel();
        (Submitted { closure: Some(closure), result: None, reply: Some(reply), reserve }, answer)
    }
}

impl<F, T, E> Job for Submitted<F, T, E>
where
    F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send,
    T: Send,
    E: From<DiskError> + Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> bool {
        let Some(closure) = self.closure.take() else { return false };
        let result = catch_unwind(AssertUnwindSafe(|| closure(tx)));
        let result = result.unwrap_or_else(|_| Err(DiskError::Panicked.into()));
        self.result.insert(result).is_ok()
    }

    fn answer(&mut self, durable: Result<(), DiskError>) {
        let result = match (durable, self.result.take()) {
            (Ok(()), Some(result)) => result,
            (Ok(()), None) => Err(DiskError::Closed.into()),
            (Err(error), _) => Err(error.into()),
        };
        if let Some(reply) = self.reply.take() {
            // Who asked may be gone.
            let _ = reply.send(result);
        }
    }

    fn may_use_reserve(&self) -> bool {
        self.reserve
    }
}

pub(super) struct Writer {
    pub(super) dir: PathBuf,
    pub(super) min_free: u64,
    pub(super) shared: Shared,
    pub(super) jobs: mpsc::Receiver<Box<dyn Job>>,
    /// Why the database is not open, and when it was last tried.
    pub(super) down: Option<(DiskError, Instant)>,
}

impl Writer {
    /// Writes until nobody can submit any more, then closes the directory.
    pub(super) fn run(mut self) {
        while let Some(first) = self.jobs.blocking_recv() {
            let mut group = Vec::with_capacity(self.jobs.len() + 1);
            group.push(first);
            self.group(group);
        }
        let opened = self.shared.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(opened) = opened {
            opened.close();
        }
    }

    fn group(&mut self, mut group: Vec<Box<dyn Job>>) {
        if let Err(error) = self.ready() {
            return answer(group, &Err(error));
        }
        let crowded = free(&self.dir) < self.min_free;
        let shared = self.shared.clone();
        let (rows, hooks) = {
            let opened = shared.read().unwrap_or_else(PoisonError::into_inner);
            let Some(opened) = &*opened else { return answer(group, &Err(DiskError::Closed)) };
            let mut tx = opened.begin();
            let mut taken = 0;
            while taken < group.len() {
                if crowded && !group[taken].may_use_reserve() {
                    group.remove(taken).answer(Err(full(&self.dir)));
                } else {
                    if group[taken].run(&mut tx) {
                        tx.keep()
                    } else {
                        tx.undo()
                    }
                    taken += 1;
                }
                if taken == group.len() && taken < GROUP && tx.bytes() < GROUP_BYTES {
                    group.extend(self.jobs.try_recv());
                }
            }
            tx.finish()
        };
        faults::point("disk.before_commit");
        let durable = if rows.is_empty() { Ok(()) } else { self.commit(rows) };
        faults::point("disk.committed");
        for hook in hooks {
            // A hook that panics is its owner's trouble, not that of those who wait for their answers.
            let _ = catch_unwind(AssertUnwindSafe(|| hook(durable.is_ok())));
        }
        answer(group, &durable);
    }

    fn commit(&mut self, rows: Vec<(Space, Written)>) -> Result<(), DiskError> {
        let shared = self.shared.clone();
        // Readers go on meanwhile, except where a space is made.
        let (wanted, committed) = {
            let opened = shared.read().unwrap_or_else(PoisonError::into_inner);
            match opened.as_ref() {
                None => return Err(DiskError::Closed),
                Some(database) if database.has_spaces(&rows) => (database.group() + 1, database.commit(rows)),
                Some(database) => {
                    let wanted = database.group() + 1;
                    drop(opened);
                    let mut opened = shared.write().unwrap_or_else(PoisonError::into_inner);
                    let Some(database) = &mut *opened else { return Err(DiskError::Closed) };
                    (wanted, database.make_spaces(&rows).and_then(|()| database.commit(rows)))
                }
            }
        };
        let Err(error) = committed else { return Ok(()) };
        tracing::error!(code = "disk_write_failed", dir = %self.dir.display(), %error, "a write failed; opening anew");
        let mut opened = shared.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(failed) = opened.take() {
            failed.close();
        }
        match self.open_anew() {
            Ok(anew) => {
                let durable = anew.group() == wanted;
                *opened = Some(anew);
                if durable { Ok(()) } else { Err(error) }
            }
            Err(again) => {
                self.down = Some((again, Instant::now()));
                Err(error)
            }
        }
    }

    /// Opens the directory after a write that failed. What is read back is on the disk then.
    fn open_anew(&self) -> Result<Opened, DiskError> {
        tail::write_again(&self.dir)?;
        Opened::open(&self.dir)
    }

    /// Opens the directory anew where that is due.
    fn ready(&mut self) -> Result<(), DiskError> {
        let Some((error, tried)) = &self.down else { return Ok(()) };
        if tried.elapsed() < REOPEN_EVERY {
            return Err(error.clone());
        }
        match self.open_anew() {
            Ok(opened) => {
                *self.shared.write().unwrap_or_else(PoisonError::into_inner) = Some(opened);
                self.down = None;
                tracing::info!(code = "disk_recovered", dir = %self.dir.display(), "the data directory is open again");
                Ok(())
            }
            Err(error) => {
                self.down = Some((error.clone(), Instant::now()));
                Err(error)
            }
        }
    }
}

fn answer(group: Vec<Box<dyn Job>>, durable: &Result<(), DiskError>) {
    for mut job in group {
        job.answer(durable.clone());
    }
}
