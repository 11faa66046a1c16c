//! The sequence of batches of one life of a sink, and what it leaves to the next life.
//!
//! A sink that is rebuilt is given again whatever the engine has no answer for. Some of that may be in the log: it was
//! written, and the answer was not heard. A lane notes what was written until that is heard of; the next life waits until
//! the last one can write nothing more, and leaves out what it finds noted. So a rebuild neither loses nor doubles.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use telemill_engine::position::Partition;
use telemill_engine::record::EventId;

use crate::embedded::log::{Log, LogError};

/// What one life of a sink leaves to the next; kept with its checked form.
#[derive(Default)]
pub(in crate::embedded) struct Lives(Mutex<Option<Life>>);

struct Life {
    log: Arc<Log>,
    lane: Arc<Lane>,
}

/// A record, or a mark, by the index of its topic.
pub(super) type Known = (usize, EventId);
pub(super) const MARKS: usize = usize::MAX;

impl Lives {
    /// Ends the last life. What of it, and of those before, was written and not heard of, and the last offsets that it
    /// delivered.
    pub(super) async fn last(&self) -> Result<(Earlier, Passed), LogError> {
        let life = lock(&self.0).take();
        let Some(Life { log, lane }) = life else { return Ok(Default::default()) };
        lane.state().closed = true;
        // Behind everything that it may still have in the queue.
        if let Err(error) = log.disk().write(|_| Ok::<_, LogError>(())).await {
            *lock(&self.0) = Some(Life { log, lane });
            return Err(error);
        }
        let mut state = lane.state();
        let mut earlier = std::mem::take(&mut state.earlier);
        let (unheard, skipped) = (std::mem::take(&mut state.unheard), std::mem::take(&mut state.skipped));
        unheard.into_values().chain(skipped.into_values()).flatten().for_each(|known| give(&mut earlier, known));
        Ok((earlier, state.durable_passed.clone()))
    }

    pub(super) fn begin(&self, log: &Arc<Log>, lane: &Arc<Lane>) {
        *lock(&self.0) = Some(Life { log: log.clone(), lane: lane.clone() });
    }
}

/// What earlier lives have written and nobody has heard of, and how often.
pub(super) type Earlier = HashMap<Known, usize>;

fn give(earlier: &mut Earlier, known: Known) {
    *earlier.entry(known).or_default() += 1;
}

/// The last offset delivered, by topic and partition.
pub(super) type Passed = HashMap<(usize, Partition), i64>;

/// The sequence of batches of one life.
#[derive(Default)]
pub(super) struct Lane {
    state: Mutex<LaneState>,
    /// Batches that are not answered, or whose answer is not heard.
    pub(super) outstanding: AtomicU64,
}

#[derive(Default)]
pub(super) struct LaneState {
    /// The last batch that a group has taken, and the last that is durable.
    pub(super) taken: u64,
    pub(super) durable: u64,
    pub(super) passed: Passed,
    pub(super) durable_passed: Passed,
    /// What is durable and was not heard of, by batch.
    unheard: BTreeMap<u64, Vec<Known>>,
    /// What the lives before have written, and for how many batches more it is looked up: what the engine submits again
    /// comes first, and a record may well be written again later, on purpose.
    pub(super) earlier: Earlier,
    pub(super) looked_up: usize,
    /// What was left out of batches that are not heard of, because a life before has written it.
    pub(super) skipped: BTreeMap<u64, Vec<Known>>,
    pub(super) closed: bool,
}

impl Lane {
    pub(super) fn state(&self) -> MutexGuard<'_, LaneState> {
        lock(&self.state)
    }

    pub(super) fn settle(&self, number: u64, known: Vec<Known>, durable: bool) {
        let mut state = self.state();
        if durable {
            state.durable = number;
            state.durable_passed = state.passed.clone();
            state.unheard.insert(number, known);
        } else {
            state.taken = state.durable;
            state.passed = state.durable_passed.clone();
        }
    }
}

impl LaneState {
    /// Whether a life before has written this, each time that it did.
    pub(super) fn take_earlier(&mut self, known: &Known) -> bool {
        let Some(left @ 1..) = self.earlier.get_mut(known) else { return false };
        *left -= 1;
        true
    }

    /// The answer to a batch was heard.
    pub(super) fn heard(&mut self, number: u64, written: bool) {
        self.unheard.remove(&number);
        let skipped = self.skipped.remove(&number).unwrap_or_default();
        if !written {
            // It is submitted again, and the same is to be left out.
            skipped.into_iter().for_each(|known| give(&mut self.earlier, known));
            return;
        }
        self.looked_up = self.looked_up.saturating_sub(1);
        if self.looked_up == 0 {
            self.earlier.clear();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
