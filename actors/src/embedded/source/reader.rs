//! The reading half.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use telemill_engine::position::Partition;
use telemill_engine::source::{ResumeAt, SourceBatch, SourceError, SourceEvent, SourceReader};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::fetch::{self, Begun, Done, Fetched, Ready, Wanted, WorkError};
use super::shared::Shared;
use crate::log::ledger::Generation;
use crate::log::merge::Merge;
use crate::log::outbox::{Item, Outbox};
use crate::log::reading::Body;

/// What waits in memory to be asked for.
const AHEAD_RECORDS: usize = 4096;
const AHEAD_BYTES: usize = 8 << 20;

/// Gives out what was read.
pub struct EmbeddedReader {
    shared: Arc<Shared>,
    /// Counts how often an end of the log has moved.
    moved: watch::Receiver<u64>,
    outbox: Outbox,
    merging: BTreeMap<Partition, Merging>,
    /// Questions that the engine has not answered.
    asked: VecDeque<Asked>,
    /// Partitions whose beginning is to be found out.
    ready: Vec<Ready>,
    /// What is being done on a blocking thread. Kept here, so that a call that is dropped loses nothing.
    work: Option<JoinHandle<Result<Done, WorkError>>>,
    /// The partition that was first to be read the last time.
    turn: Partition,
}

struct Merging {
    generation: Generation,
    merge: Merge<Body>,
}

struct Asked {
    partitions: Vec<(Partition, Generation, Option<Vec<i64>>)>,
    replied: oneshot::Receiver<Vec<(Partition, ResumeAt)>>,
}

type Reply = Result<Vec<(Partition, ResumeAt)>, oneshot::error::RecvError>;

impl EmbeddedReader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let ids = shared.topics.iter().map(|topic| topic.id).collect();
        EmbeddedReader {
            moved: shared.log.moved(),
            outbox: Outbox::new(ids, AHEAD_RECORDS, AHEAD_BYTES),
            merging: BTreeMap::new(),
            asked: VecDeque::new(),
            ready: Vec::new(),
            work: None,
            turn: Partition::MIN,
            shared,
        }
    }

    /// Assigns what is to be assigned: what was read of it counts no more, and the engine is asked where to begin.
    fn assign(&mut self) {
        let mut state = self.shared.state();
        let partitions: Vec<_> = std::mem::take(&mut state.to_assign).into_iter().collect();
        if partitions.is_empty() {
            return;
        }
        let mut asked = Vec::with_capacity(partitions.len());
        for partition in &partitions {
            self.merging.remove(partition);
            self.ready.retain(|ready| ready.partition != *partition);
            let generation = state.ledger.assign(*partition);
            self.outbox.open(*partition, generation);
            asked.push((*partition, generation, state.ledger.safe_before(*partition).cloned()));
        }
        drop(state);
        let replied = self.outbox.tell_assigned(partitions);
        self.asked.push_back(Asked { partitions: asked, replied });
    }

    fn answered(&mut self, asked: Asked, reply: Reply) {
        // Nobody answers where the engine is going, or has been asked again.
        let Ok(mut answers) = reply else { return };
        let state = self.shared.state();
        for (partition, generation, safe) in asked.partitions {
            if !state.ledger.is_current(partition, generation) {
                continue;
            }
            let answer = answers.iter_mut().find(|(answered, _)| *answered == partition);
            let resume_at = answer.map_or(ResumeAt::Committed, |(_, at)| std::mem::replace(at, ResumeAt::Committed));
            self.ready.push(Ready { partition, generation, resume_at, safe });
        }
    }

    /// Has the next piece of work done, if there is any and none is under way.
    fn start_work(&mut self) {
        if self.work.is_some() {
            return;
        }
        if !self.ready.is_empty() {
            let ready = std::mem::take(&mut self.ready);
            self.work = Some(fetch::spawn(&self.shared, move |view, shared| fetch::begin(view, shared, &ready)));
            return;
        }
        // Before the ends are looked at, so that one that moves meanwhile is noticed.
        self.moved.borrow_and_update();
        let wanted = self.wanted();
        if !wanted.is_empty() {
            self.work = Some(fetch::spawn(&self.shared, move |view, shared| fetch::fetch(view, shared, &wanted)));
        }
    }

    /// What can be read, and merged, now.
    fn wanted(&mut self) -> Vec<Wanted> {
        if self.outbox.room() == (0, 0) {
            return Vec::new();
        }
        let mut wanted = Vec::new();
        for (partition, merging) in &self.merging {
            for (at, topic) in self.shared.topics.iter().enumerate() {
                let (from, (_, end)) = (merging.merge.read(at), topic.bounds(*partition));
                if from < end && merging.merge.has_room(at) {
                    let generation = merging.generation;
                    wanted.push(Wanted { partition: *partition, generation, topic: at, from, end });
                }
            }
        }
        wanted
    }

    fn take(&mut self, done: Done) {
        match done {
            Done::Begun(begun) => begun.into_iter().for_each(|begun| self.begun(begun)),
            Done::Fetched(fetched) => fetched.into_iter().for_each(|fetched| self.fetched(fetched)),
        }
        self.pump();
    }

    fn begun(&mut self, begun: Begun) {
        let Begun { partition, generation, lanes } = begun;
        let offsets = lanes.iter().map(|(start, _)| *start).collect();
        if self.shared.state().ledger.begin(partition, generation, offsets) {
            self.merging.insert(partition, Merging { generation, merge: Merge::new(lanes) });
        }
    }

    fn fetched(&mut self, fetched: Fetched) {
        let Fetched { wanted, read, gone } = fetched;
        let merging = self.merging.get_mut(&wanted.partition).filter(|m| m.generation == wanted.generation);
        let Some(merging) = merging else { return };
        if gone {
            self.shared.assign_again(wanted.partition);
            return;
        }
        for next in read {
            merging.merge.push(wanted.topic, next);
        }
        if merging.merge.read(wanted.topic) >= wanted.end {
            merging.merge.reached_end(wanted.topic);
        }
    }

    /// Moves what is in order to where it is asked for, as far as there is room; partitions take turns.
    fn pump(&mut self) {
        let (mut records, mut bytes) = self.outbox.room();
        let later = self.merging.range((std::ops::Bound::Excluded(self.turn), std::ops::Bound::Unbounded));
        self.turn = later.map(|(at, _)| *at).next().unwrap_or(Partition::MIN);
        let turn = self.turn;
        let (before, from): (Vec<_>, Vec<_>) = self.merging.iter_mut().partition(|(at, _)| **at < turn);
        for (partition, merging) in from.into_iter().chain(before) {
            while records > 0 && bytes > 0 {
                let Some(next) = merging.merge.pop() else { break };
                records -= 1;
                bytes = bytes.saturating_sub(next.weight);
                let item = Item { topic: next.lane, offset: next.offset, weight: next.weight, body: next.item };
                self.outbox.put(*partition, merging.generation, item);
            }
        }
    }

    fn batch(&mut self, max_records: usize) -> Option<SourceBatch> {
        let taken = self.outbox.take(max_records)?;
        let tag = self.shared.state().ledger.give(taken.partition, taken.last)?;
        self.pump();
        self.start_work();
        Some(SourceBatch {
            partition: taken.partition,
            records: taken.records,
            rejected: taken.rejected,
            previous: taken.previous,
            tag,
        })
    }
}

impl SourceReader for EmbeddedReader {
    fn partitions(&self) -> u32 {
        self.shared.reading.partitions.unsigned_abs()
    }

    async fn next(&mut self, max_records: usize) -> Result<SourceEvent, SourceError> {
        loop {
            // Nothing is taken before it is returned, so dropping this future loses nothing.
            if self.shared.is_closed() {
                return Ok(SourceEvent::End);
            }
            self.assign();
            if let Some(event) = self.outbox.event() {
                return Ok(event);
            }
            if let Some(batch) = self.batch(max_records) {
                return Ok(SourceEvent::Batch(batch));
            }
            self.start_work();
            let idle = self.work.is_none();
            tokio::select! {
                done = finished(&mut self.work) => {
                    self.work = None;
                    match done {
                        Ok(Ok(done)) => self.take(done),
                        Ok(Err(WorkError(error))) => return Err(error),
                        Err(error) => return Err(SourceError::Unavailable(format!("reading the log failed: {error}"))),
                    }
                }
                reply = replied(&mut self.asked) => {
                    if let Some(asked) = self.asked.pop_front() {
                        self.answered(asked, reply);
                    }
                }
                () = self.shared.told.notified() => {}
                _ = self.moved.changed(), if idle => {}
            }
        }
    }
}

/// The end of the work under way; never where there is none.
async fn finished(
    work: &mut Option<JoinHandle<Result<Done, WorkError>>>,
) -> Result<Result<Done, WorkError>, tokio::task::JoinError> {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

/// The answer to the oldest question; never where none was asked.
async fn replied(asked: &mut VecDeque<Asked>) -> Reply {
    match asked.front_mut() {
        Some(asked) => (&mut asked.replied).await,
        None => std::future::pending().await,
    }
}
