//! A store that takes batches with a guard, as `docs/formats.md` ("Guard") has it, and records every effect.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::batch::Batch;
use crate::position::{Cursor, Epoch, Partition, Position, TopicId, TopicOffset};
use crate::record::{Kind, Reason, Record};
use crate::sink::{Rejection, Submitted};

use super::Poison;

type Guards = BTreeMap<(TopicId, Partition), (i64, u32)>;

/// A guarded store.
#[derive(Default)]
pub struct SimTable(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// Each with the epoch of the write that it came by.
    effects: Vec<(Record, Epoch)>,
    guards: Guards,
    /// The furthest that each guard has ever come, roll-backs or not.
    furthest: Guards,
    epochs: BTreeMap<Partition, Epoch>,
    /// After each write: how many effects there were, and the guards.
    past: Vec<(usize, Guards)>,
}

/// What was in a table.
pub(super) struct TableCopy {
    effects: Vec<(Record, Epoch)>,
    guards: Guards,
}

impl SimTable {
    /// The script: fenced, gap, wrong type, then what is new.
    pub fn apply(&self, batch: &Batch, epoch: Epoch) -> Submitted {
        self.apply_mended(batch, epoch, |_| false, |_| ())
    }

    /// [`SimTable::apply`] where what was wrong with some records may have been mended; `told` hears of each effect.
    pub fn apply_mended(
        &self,
        batch: &Batch,
        epoch: Epoch,
        is_mended: impl Fn(&Record) -> bool,
        mut told: impl FnMut(&Record),
    ) -> Submitted {
        let mut inner = self.lock();
        if let Err(by) = inner.own(batch.partition, epoch) {
            return Submitted::Fatal(format!("fenced: {epoch} by {by}"));
        }
        for (topic, offset, output) in &batch.previous {
            let guard = inner.guards.get(&(*topic, batch.partition)).copied();
            if guard.is_none_or(|guard| guard < (*offset, *output)) {
                return Submitted::Gap { detail: format!("previous {offset}/{output}, stored {guard:?}") };
            }
        }
        let before = inner.guards.clone();
        let at = |p: &Position| ((p.topic, p.partition), (p.offset, p.output));
        let is_there = |p: &Position| before.get(&at(p).0).is_some_and(|stored| *stored >= at(p).1);
        let is_bad = |r: &Record| {
            r.dead.is_none()
                && !r.position.as_ref().is_some_and(is_there)
                && Poison::of(&r.payload) == Poison::Table
                && !is_mended(r)
        };
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
        for record in &batch.records {
            let Some(position) = record.position.as_ref().filter(|p| !is_there(p)) else { continue };
            let (key, at) = at(position);
            if record.dead.is_none() && record.kind != Kind::Mark {
                told(record);
                inner.effects.push((record.clone(), epoch));
            }
            inner.guards.insert(key, at);
            let furthest = inner.furthest.entry(key).or_insert(at);
            *furthest = (*furthest).max(at);
        }
        let now = (inner.effects.len(), inner.guards.clone());
        inner.past.push(now);
        Submitted::Delivered
    }

    /// How far it has come in a partition, which an owner takes over; or the epoch that is in the way.
    pub fn open(&self, partition: Partition, epoch: Epoch) -> Result<Cursor, Epoch> {
        let mut inner = self.lock();
        inner.own(partition, epoch)?;
        let of_it = inner.guards.iter().filter(|((_, p), _)| *p == partition);
        Ok(Cursor(of_it.map(|((topic, _), (offset, _))| TopicOffset { topic: *topic, offset: *offset }).collect()))
    }

    /// Behind the furthest that it has ever come in a topic's partition; `None` if nobody has ever opened that.
    pub fn furthest(&self, topic: TopicId, partition: Partition) -> Option<i64> {
        let inner = self.lock();
        inner.epochs.get(&partition)?;
        Some(inner.furthest.get(&(topic, partition)).map_or(0, |(offset, _)| offset + 1))
    }

    /// How many writes there were.
    pub fn writes(&self) -> usize {
        self.lock().past.len()
    }

    /// Goes back to what it was after its `write`-th write, as a store restored from a copy does. Fences stay: were they
    /// lost while a former owner lives, nobody could refuse it.
    pub fn roll_back(&self, write: usize) {
        let mut inner = self.lock();
        inner.past.truncate(write);
        let (effects, guards) = inner.past.last().cloned().unwrap_or_default();
        inner.effects.truncate(effects);
        inner.guards = guards;
    }

    pub(super) fn copy(&self) -> TableCopy {
        let inner = self.lock();
        TableCopy { effects: inner.effects.clone(), guards: inner.guards.clone() }
    }

    pub(super) fn restore(&self, copy: TableCopy) {
        let mut inner = self.lock();
        (inner.effects, inner.guards) = (copy.effects, copy.guards);
        inner.past.clear();
    }

    /// Every effect, in order.
    pub fn effects(&self) -> Vec<Record> {
        self.lock().effects.iter().map(|(record, _)| record.clone()).collect()
    }

    /// By whom each effect came, in order.
    pub fn writers(&self) -> Vec<(Partition, Epoch)> {
        let partition = |record: &Record| record.position.map_or(0, |p| p.partition);
        self.lock().effects.iter().map(|(record, epoch)| (partition(record), *epoch)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn own(&mut self, partition: Partition, epoch: Epoch) -> Result<(), Epoch> {
        let owner = self.epochs.entry(partition).or_insert(epoch);
        if *owner > epoch {
            return Err(*owner);
        }
        *owner = epoch;
        Ok(())
    }
}
