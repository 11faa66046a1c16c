//! What leaves a shard, in the order of its inputs.
//!
//! A sink that keeps positions takes a record that comes behind a later one for a repetition. So where records with
//! positions leave the shard, nothing overtakes what is made of a record that is still being tried again; other outlets
//! do not wait.

use crate::record::Record;

/// What waits to be sent on one outlet.
#[derive(Default)]
pub(super) struct Outbox {
    records: Vec<Record>,
    turns: Vec<u64>,
    /// Records with positions leave here.
    is_ordered: bool,
    /// Something of an earlier turn came behind something of a later one.
    is_disordered: bool,
}

impl Outbox {
    /// Something was made of the input of a turn.
    pub(super) fn push(&mut self, turn: u64, record: Record) {
        self.is_ordered |= record.position.is_some();
        self.is_disordered |= self.turns.last().is_some_and(|last| *last > turn);
        self.records.push(record);
        self.turns.push(turn);
    }

    /// How many records wait.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether [`Outbox::take`] would give something.
    pub(super) fn may_leave(&self, held_up: Option<u64>) -> bool {
        match held_up.filter(|_| self.is_ordered) {
            Some(held_up) => self.turns.iter().any(|turn| *turn < held_up),
            None => !self.turns.is_empty(),
        }
    }

    /// What may leave while the input of turn `held_up` is being tried again.
    pub(super) fn take(&mut self, held_up: Option<u64>) -> Vec<Record> {
        if std::mem::take(&mut self.is_disordered) {
            let mut sorted: Vec<_> = self.turns.drain(..).zip(self.records.drain(..)).collect();
            // Stable: what one input has made stays in its order.
            sorted.sort_by_key(|(turn, _)| *turn);
            (self.turns, self.records) = sorted.into_iter().unzip();
        }
        let upto = match held_up.filter(|_| self.is_ordered) {
            Some(held_up) => self.turns.partition_point(|turn| *turn < held_up),
            None => self.turns.len(),
        };
        self.turns.drain(..upto);
        let rest = match upto == self.records.len() {
            // As much is to be expected again.
            true => Vec::with_capacity(upto),
            false => self.records.split_off(upto),
        };
        std::mem::replace(&mut self.records, rest)
    }
}
