//! What the source's threads and its two halves share.
//!
//! Four parties meet here, and only here: the *group* thread says which partitions are ours, the *keeper* finds out
//! where they begin and commits, the *fetcher* reads them, and the engine's side takes and acknowledges batches. All
//! that they agree on is behind one lock that is never held across a call into the client library.
//!
//! A partition's assignment goes through: assigned (the engine is asked where to begin) → planned (the fetcher may read
//! it) → leaving (nothing more is read, what is in flight may still be acknowledged) → gone. Giving a batch back starts
//! over at assigned, with a new generation.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;

use telemill_engine::faults;
use telemill_engine::position::Partition;
use telemill_engine::source::{ResumeAt, SourceBatch, SourceError, SourceEvent};
use tokio::sync::{Notify, oneshot};

use super::setup::Setup;
use crate::log::ledger::{Commit, Generation, Ledger};
use crate::log::outbox::{Item, Outbox};

/// Records that wait in memory to be asked for.
const OUTBOX_RECORDS: usize = 8192;

/// A question to the engine: where these partitions begin.
pub(super) struct Asked {
    pub(super) partitions: Vec<(Partition, Generation)>,
    pub(super) replied: oneshot::Receiver<Vec<(Partition, ResumeAt)>>,
}

/// What the fetcher is to read of a partition: the first offset and the end, topic by topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) generation: Generation,
    pub(super) lanes: Vec<(i64, i64)>,
}

/// How far the fetcher has come in a topic of a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// The offset before which everything was read. Behind the last message there may be markers that are no messages:
    /// once the end was reached it is the end.
    pub(super) read: i64,
    /// Whether there is room for more, so that nothing but the log keeps it waiting.
    pub(super) hungry: bool,
}

struct State {
    ledger: Ledger,
    outbox: Outbox,
    asked: Vec<Asked>,
    plans: BTreeMap<Partition, Plan>,
    progress: BTreeMap<Partition, Vec<Progress>>,
    failure: Option<SourceError>,
    /// The fetcher waits for room.
    is_full: bool,
}

/// The meeting place.
pub(super) struct Shared {
    pub(super) setup: Setup,
    state: Mutex<State>,
    /// Held while offsets are committed, so that a partition is not given up in between.
    commits: Mutex<()>,
    readable: Notify,
    stopped: AtomicBool,
    pub(super) fetcher: OnceLock<Thread>,
    pub(super) keeper: OnceLock<Thread>,
}

impl Shared {
    /// How many partitions each topic has.
    pub(super) fn partitions(&self) -> u32 {
        self.setup.partitions.unsigned_abs()
    }

    pub(super) fn new(setup: Setup) -> Self {
        let ids = setup.topics.iter().map(|topic| topic.id).collect();
        let state = State {
            ledger: Ledger::default(),
            outbox: Outbox::new(ids, OUTBOX_RECORDS, setup.outbox_bytes()),
            asked: Vec::new(),
            plans: BTreeMap::new(),
            progress: BTreeMap::new(),
            failure: None,
            is_full: false,
        };
        Shared {
            setup,
            state: Mutex::new(state),
            commits: Mutex::new(()),
            readable: Notify::new(),
            stopped: AtomicBool::new(false),
            fetcher: OnceLock::new(),
            keeper: OnceLock::new(),
        }
    }

    /// Asks the threads to end.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        wake(&self.fetcher);
        wake(&self.keeper);
        self.readable.notify_one();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// The source cannot go on; the reader hears of it. The first reason counts.
    pub(super) fn fail(&self, error: SourceError) {
        let mut state = self.lock();
        state.plans.clear();
        state.failure.get_or_insert(error);
        drop(state);
        wake(&self.fetcher);
        self.readable.notify_one();
    }

    // The group thread.

    /// These partitions are ours now, or ours again: the engine is asked where to begin.
    pub(super) fn assigned(&self, partitions: &[Partition]) {
        self.lock().assign(partitions);
        self.asked_engine();
    }

    /// These partitions are about to be given up: nothing more is read or given out. What is returned is sent to when
    /// nothing is in flight; `None` when nothing can be.
    pub(super) fn leaving(&self, partitions: &[Partition]) -> Option<oneshot::Receiver<()>> {
        let mut state = self.lock();
        for partition in partitions {
            state.plans.remove(partition);
            state.progress.remove(partition);
            state.outbox.clear(*partition);
            state.ledger.leave(*partition);
        }
        let done = state.outbox.tell_revoked(partitions);
        drop(state);
        wake(&self.fetcher);
        self.readable.notify_one();
        done
    }

    /// These partitions are not ours any more.
    pub(super) fn gone(&self, partitions: &[Partition]) {
        let mut state = self.lock();
        for partition in partitions {
            state.ledger.remove(*partition);
        }
    }

    // The keeper.

    /// Questions asked of the engine since the last call.
    pub(super) fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.lock().asked)
    }

    pub(super) fn is_current(&self, partition: Partition, generation: Generation) -> bool {
        self.lock().ledger.is_current(partition, generation)
    }

    /// What was safe before a partition of ours was assigned anew.
    pub(super) fn safe_before(&self, partition: Partition) -> Option<Vec<i64>> {
        self.lock().ledger.safe_before(partition).cloned()
    }

    /// Lets the fetcher read a partition, unless its assignment is over.
    pub(super) fn plan(&self, partition: Partition, plan: Plan) {
        let mut state = self.lock();
        let offsets = plan.lanes.iter().map(|(start, _)| *start).collect();
        if state.failure.is_none() && state.ledger.begin(partition, plan.generation, offsets) {
            state.plans.insert(partition, plan);
        }
        drop(state);
        wake(&self.fetcher);
    }

    /// Keeps commits and the giving up of partitions apart.
    pub(super) fn committing(&self) -> MutexGuard<'_, ()> {
        self.commits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn to_commit(&self, again: bool) -> Vec<Commit> {
        self.lock().ledger.to_commit(None, again)
    }

    pub(super) fn to_commit_of(&self, partitions: &[Partition]) -> Vec<Commit> {
        let state = self.lock();
        partitions.iter().flat_map(|partition| state.ledger.to_commit(Some(*partition), false)).collect()
    }

    pub(super) fn committed(&self, commits: Vec<Commit>) {
        self.lock().ledger.committed(commits);
    }

    /// The partitions being read: how far the fetcher has come, and what is safe.
    pub(super) fn standing(&self) -> Vec<(Partition, Vec<Progress>, Vec<i64>)> {
        let state = self.lock();
        let standing = state.progress.iter().filter_map(|(partition, progress)| {
            Some((*partition, progress.clone(), state.ledger.done(*partition)?.clone()))
        });
        standing.collect()
    }

    // The fetcher.

    /// What is to be read now.
    pub(super) fn plans(&self) -> BTreeMap<Partition, Plan> {
        self.lock().plans.clone()
    }

    /// Whether what is being read is what is to be read.
    pub(super) fn reads_as_planned(&self, reading: impl Iterator<Item = (Partition, Generation)>) -> bool {
        let state = self.lock();
        state.plans.iter().map(|(partition, plan)| (*partition, plan.generation)).eq(reading)
    }

    /// How many records and bytes may be put in; when there is no room, the fetcher is woken once there is.
    pub(super) fn room(&self) -> (usize, usize) {
        let mut state = self.lock();
        let room = state.outbox.room();
        state.is_full = room == (0, 0);
        room
    }

    /// Puts in what was read, in order within a partition; wakes the reader once.
    pub(super) fn put(&self, read: Vec<(Partition, Generation, Vec<Item>)>) {
        if read.is_empty() {
            return;
        }
        let mut state = self.lock();
        for (partition, generation, items) in read {
            // What was read for an assignment that is over is of no use to anybody.
            let _all = items.into_iter().all(|item| state.outbox.put(partition, generation, item));
        }
        drop(state);
        self.readable.notify_one();
    }

    /// Tells how far reading has come.
    pub(super) fn progressed(&self, progress: impl Iterator<Item = (Partition, Generation, Vec<Progress>)>) {
        let mut state = self.lock();
        let current = progress.filter(|(partition, generation, _)| state.ledger.is_current(*partition, *generation));
        state.progress = current.map(|(partition, _, progress)| (partition, progress)).collect();
    }

    /// The log does not have what was to be read next: where to begin has to be found out again.
    pub(super) fn out_of_range(&self, partition: Partition, generation: Generation) {
        let mut state = self.lock();
        if state.ledger.is_current(partition, generation) {
            state.assign(&[partition]);
        }
        drop(state);
        self.asked_engine();
    }

    // The engine's side.

    /// What comes next, if it is there.
    pub(super) fn next(&self, max_records: usize) -> Option<Result<SourceEvent, SourceError>> {
        let mut state = self.lock();
        if let Some(failure) = &state.failure {
            return Some(Err(copy(failure)));
        }
        if self.is_stopped() {
            return Some(Ok(SourceEvent::End));
        }
        if let Some(event) = state.outbox.event() {
            return Some(Ok(event));
        }
        let taken = state.outbox.take(max_records)?;
        let tag = state.ledger.give(taken.partition, taken.last)?;
        if faults::mutant("commit_early") {
            state.ledger.acknowledge(taken.partition, tag);
        }
        let fetcher_waits = std::mem::take(&mut state.is_full);
        drop(state);
        if fetcher_waits {
            wake(&self.fetcher);
        }
        Some(Ok(SourceEvent::Batch(SourceBatch {
            partition: taken.partition,
            records: taken.records,
            rejected: taken.rejected,
            previous: taken.previous,
            tag,
        })))
    }

    /// Waits until [`Shared::next`] may have something.
    pub(super) async fn readable(&self) {
        self.readable.notified().await;
    }

    pub(super) fn acknowledge(&self, batches: Vec<(Partition, u64)>) {
        let mut state = self.lock();
        for (partition, tag) in batches {
            state.ledger.acknowledge(partition, tag);
        }
    }

    /// Has a partition read again, unless that is under way or it is being given up.
    pub(super) fn give_back(&self, partition: Partition, tag: u64) {
        let mut state = self.lock();
        if state.ledger.is_current_tag(partition, tag) {
            state.assign(&[partition]);
        }
        drop(state);
        self.asked_engine();
    }

    fn asked_engine(&self) {
        wake(&self.fetcher);
        wake(&self.keeper);
        self.readable.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn assign(&mut self, partitions: &[Partition]) {
        if partitions.is_empty() {
            return;
        }
        let mut assigned = Vec::with_capacity(partitions.len());
        for partition in partitions {
            self.plans.remove(partition);
            self.progress.remove(partition);
            let generation = self.ledger.assign(*partition);
            self.outbox.open(*partition, generation);
            assigned.push((*partition, generation));
        }
        let replied = self.outbox.tell_assigned(partitions.to_vec());
        self.asked.push(Asked { partitions: assigned, replied });
    }
}

fn wake(thread: &OnceLock<Thread>) {
    if let Some(thread) = thread.get() {
        thread.unpark();
    }
}

fn copy(error: &SourceError) -> SourceError {
    match error {
        SourceError::Unavailable(why) => SourceError::Unavailable(why.clone()),
        SourceError::Broken(why) => SourceError::Broken(why.clone()),
    }
}

#[cfg(test)]
mod tests;
