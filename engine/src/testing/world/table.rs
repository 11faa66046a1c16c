//! A store that takes batches with a guard, as `docs/formats.md` ("Guard") has it, and records every effect.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::batch::Batch;
use crate::position::{Cursor, Epoch, Partition, TopicId, TopicOffset};
use crate::record::{Kind, Reason, Record};
use crate::sink::{Rejection, Submitted};

use super::Poison;

type Guards = BTreeMap<(TopicId, Partition), (i64, u32)>;

/// A guarded store.
#[derive(Default)]
pub struct SimTable(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    effects: Vec<Record>,
    guards: Guards,
    /// The furthest that each guard has ever come, roll-backs or not.
    furthest: Guards,
    epochs: BTreeMap<Partition, Epoch>,
    /// After each write: how many effects there were, and the guards.
    past: Vec<(usize, Guards)>,
}

impl SimTable {
    /// The script: fenced, gap, wrong type, then what is new.
    pub fn apply(&self, batch: &Batch, epoch: Epoch) -> Submitted {
        let mut inner = self.lock();
        let stored = *inner.epochs.get(&batch.partition).unwrap_or(&epoch);
        if stored > epoch {
            return Submitted::Fatal(format!("fenced: {epoch} by {stored}"));
        }
        for (topic, offset, output) in &batch.previous {
            let guard = inner.guards.get(&(*topic, batch.partition)).copied();
            if guard.is_none_or(|guard| guard < (*offset, *output)) {
                return Submitted::Gap { detail: format!("previous {offset}/{output}, stored {guard:?}") };
            }
        }
        let is_bad = |r: &Record| r.dead.is_none() && Poison::of(&r.payload) == Poison::Table;
        let reject = |(index, _)| Rejection {
            index,
            reason: Reason::WRONG_TYPE,
            detail: "injected".to_owned(),
            permanent: true,
        };
        let bad: Vec<_> = batch.records.iter().enumerate().filter(|(_, r)| is_bad(r)).map(reject).collect();
        if !bad.is_empty() {
            return Submitted::Rejected { records: bad, others_applied: false };
        }
        inner.epochs.insert(batch.partition, epoch);
        let before = inner.guards.clone();
        for record in &batch.records {
            let Some(position) = record.position else { continue };
            let key = (position.topic, position.partition);
            let at = (position.offset, position.output);
            if before.get(&key).is_some_and(|stored| *stored >= at) {
                continue;
            }
            if record.dead.is_none() && record.kind != Kind::Mark {
                inner.effects.push(record.clone());
            }
            inner.guards.insert(key, at);
            let furthest = inner.furthest.entry(key).or_insert(at);
            *furthest = (*furthest).max(at);
        }
        let now = (inner.effects.len(), inner.guards.clone());
        inner.past.push(now);
        Submitted::Delivered
    }

    /// How far it has come in a partition.
    pub fn cursor(&self, partition: Partition) -> Cursor {
        let inner = self.lock();
        let of_it = inner.guards.iter().filter(|((_, p), _)| *p == partition);
        Cursor(of_it.map(|((topic, _), (offset, _))| TopicOffset { topic: *topic, offset: *offset }).collect())
    }

    /// The furthest that it has ever come in a topic's partition.
    pub fn furthest(&self, topic: TopicId, partition: Partition) -> Option<i64> {
        self.lock().furthest.get(&(topic, partition)).map(|(offset, _)| *offset)
    }

    /// How many writes there were.
    pub fn writes(&self) -> usize {
        self.lock().past.len()
    }

    /// Goes back to what it was after its `write`-th write, as a store restored from a copy does.
    pub fn roll_back(&self, write: usize) {
        let mut inner = self.lock();
        inner.past.truncate(write);
        let (effects, guards) = inner.past.last().cloned().unwrap_or_default();
        inner.effects.truncate(effects);
        inner.guards = guards;
    }

    /// Every effect, in order.
    pub fn effects(&self) -> Vec<Record> {
        self.lock().effects.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
