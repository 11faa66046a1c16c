//! What was given out, what of it is safe, and what may be committed.
//!
//! The guarantee: an offset is offered for commit only when every batch up to it was acknowledged in the partition's
//! present assignment. Each assignment has a generation of its own, which is part of every tag; what is said about a
//! batch of an earlier one changes nothing, so a late acknowledgement can neither move nor rewind a commit.
//!
//! Offsets here are the *next* ones to read, as Kafka commits them. Topics are indices into the source's list.

use std::collections::{BTreeMap, VecDeque};

use telemill_engine::position::Partition;

/// Bits of a tag that number the batches of one assignment; the generation is above them.
const SEQUENCE_BITS: u32 = 40;

/// Which assignment of a partition: rises with every assignment of the source.
pub(crate) type Generation = u64;

/// The next offset to read in each topic of a partition.
pub(crate) type Offsets = Vec<i64>;

/// The books of a source: one account a partition that is ours.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    last_generation: Generation,
    accounts: BTreeMap<Partition, Account>,
}

#[derive(Debug)]
struct Account {
    generation: Generation,
    next_sequence: u64,
    /// Batches given out and not yet acknowledged: the sequence, and the next offset of each topic in it.
    given: VecDeque<(u64, Vec<(usize, i64)>)>,
    /// None until it is known where to begin.
    done: Option<Offsets>,
    committed: Option<Offsets>,
    /// What was safe in the assignment before this one, when the partition stayed ours.
    safe_before: Option<Offsets>,
    /// Being given up: acknowledgements still count, nothing new begins.
    leaving: bool,
}

/// Offsets to commit for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) partition: Partition,
    pub(crate) generation: Generation,
    pub(crate) offsets: Offsets,
}

impl Ledger {
    /// Opens a new account for a partition. What went out before counts no more; what was safe stays safe.
    pub(crate) fn assign(&mut self, partition: Partition) -> Generation {
        self.last_generation += 1;
        let generation = self.last_generation;
        let safe_before = self.accounts.remove(&partition).and_then(|before| before.done.or(before.safe_before));
        let account = Account {
            generation,
            next_sequence: 0,
            given: VecDeque::new(),
            done: None,
            committed: None,
            safe_before,
            leaving: false,
        };
        self.accounts.insert(partition, account);
        generation
    }

    /// What was safe when the partition was assigned anew while it stayed ours; it may not be committed yet.
    pub(crate) fn safe_before(&self, partition: Partition) -> Option<&Offsets> {
        self.accounts.get(&partition)?.safe_before.as_ref()
    }

    /// The partition is being given up: what is in flight may still be acknowledged.
    #[cfg(any(test, feature = "kafka"))]
    pub(crate) fn leave(&mut self, partition: Partition) {
        if let Some(account) = self.accounts.get_mut(&partition) {
            account.leaving = true;
        }
    }

    /// Where reading begins: everything before is safe. False when the assignment is over or ending.
    pub(crate) fn begin(&mut self, partition: Partition, generation: Generation, offsets: Offsets) -> bool {
        match self.current(partition, generation).filter(|account| !account.leaving) {
            Some(account) => {
                account.done = Some(offsets);
                true
            }
            None => false,
        }
    }

    /// Gives up a partition.
    #[cfg(any(test, feature = "kafka"))]
    pub(crate) fn remove(&mut self, partition: Partition) {
        self.accounts.remove(&partition);
    }

    /// Whether this assignment is the present one, and not being given up.
    pub(crate) fn is_current(&self, partition: Partition, generation: Generation) -> bool {
        self.accounts.get(&partition).is_some_and(|account| account.generation == generation && !account.leaving)
    }

    /// Whether a batch is of the partition's present assignment.
    pub(crate) fn is_current_tag(&self, partition: Partition, tag: u64) -> bool {
        self.is_current(partition, tag >> SEQUENCE_BITS)
    }

    /// Notes a batch that goes out, with the last offset of each topic in it, and numbers it.
    pub(crate) fn give(&mut self, partition: Partition, last: impl IntoIterator<Item = (usize, i64)>) -> Option<u64> {
        let account = self.accounts.get_mut(&partition)?;
        let sequence = account.next_sequence;
        account.next_sequence += 1;
        account.given.push_back((sequence, last.into_iter().map(|(topic, offset)| (topic, offset + 1)).collect()));
        Some(account.generation << SEQUENCE_BITS | sequence)
    }

    /// This batch, and all before it in its assignment, are safe.
    pub(crate) fn acknowledge(&mut self, partition: Partition, tag: u64) {
        let sequence = tag & ((1 << SEQUENCE_BITS) - 1);
        let Some(account) = self.current(partition, tag >> SEQUENCE_BITS) else { return };
        let Some(done) = &mut account.done else { return };
        let acknowledged = account.given.partition_point(|(given, _)| *given <= sequence);
        for (_, ends) in account.given.drain(..acknowledged) {
            for (topic, next) in ends {
                done[topic] = done[topic].max(next);
            }
        }
    }

    /// What is safe and not committed, of one partition or of all; with `again`, also what is committed already.
    pub(crate) fn to_commit(&self, partition: Option<Partition>, again: bool) -> Vec<Commit> {
        let wanted = |at: Partition| partition.is_none_or(|wanted| wanted == at);
        let accounts = self.accounts.iter().filter(|(at, _)| wanted(**at));
        let commits = accounts.filter(|(_, account)| again || account.done != account.committed);
        let commit = |(at, account): (&Partition, &Account)| {
            let offsets = account.done.clone()?;
            Some(Commit { partition: *at, generation: account.generation, offsets })
        };
        commits.filter_map(commit).collect()
    }

    /// These offsets are committed.
    pub(crate) fn committed(&mut self, commits: Vec<Commit>) {
        for Commit { partition, generation, offsets } in commits {
            if let Some(account) = self.current(partition, generation) {
                account.committed = Some(offsets);
            }
        }
    }

    /// The next offsets that are not safe yet, once it is known where the partition began.
    pub(crate) fn done(&self, partition: Partition) -> Option<&Offsets> {
        self.accounts.get(&partition)?.done.as_ref()
    }

    fn current(&mut self, partition: Partition, generation: Generation) -> Option<&mut Account> {
        self.accounts.get_mut(&partition).filter(|account| account.generation == generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(ledger: &Ledger) -> Vec<Offsets> {
        ledger.to_commit(None, false).into_iter().map(|commit| commit.offsets).collect()
    }

    #[test]
    fn only_what_was_acknowledged_is_committed() {
        let mut ledger = Ledger::default();
        let generation = ledger.assign(3);
        assert_eq!(offsets(&ledger), [[0; 0]; 0], "where it begins is not known yet");
        assert!(ledger.begin(3, generation, vec![10, 0]));
        assert_eq!(offsets(&ledger), [[10, 0]], "everything before the beginning is safe");
        let first = ledger.give(3, [(0, 12)]).unwrap();
        let second = ledger.give(3, [(0, 14), (1, 4)]).unwrap();
        let third = ledger.give(3, [(1, 9)]).unwrap();
        assert_eq!(offsets(&ledger), [[10, 0]]);
        ledger.acknowledge(3, second);
        assert_eq!(offsets(&ledger), [[15, 5]], "the first is included");
        ledger.acknowledge(3, first);
        assert_eq!(offsets(&ledger), [[15, 5]]);

        let commit = ledger.to_commit(Some(3), false);
        ledger.acknowledge(3, third);
        ledger.committed(commit);
        assert_eq!(offsets(&ledger), [[15, 10]], "acknowledged while the commit was on its way");
        ledger.committed(ledger.to_commit(None, false));
        assert_eq!(offsets(&ledger), [[0; 0]; 0]);
        assert_eq!(ledger.to_commit(None, true).len(), 1, "said again so that it does not expire");
    }

    #[test]
    fn what_is_said_of_an_earlier_assignment_changes_nothing() {
        let mut ledger = Ledger::default();
        let earlier = ledger.assign(0);
        ledger.begin(0, earlier, vec![0]);
        let late = ledger.give(0, [(0, 99)]).unwrap();
        let commit = ledger.to_commit(None, false);

        let generation = ledger.assign(0);
        assert!(!ledger.begin(0, earlier, vec![50]));
        assert!(!ledger.is_current_tag(0, late));
        assert_eq!(ledger.safe_before(0), Some(&vec![0]));
        ledger.acknowledge(0, late);
        assert!(ledger.begin(0, generation, vec![5]));
        ledger.acknowledge(0, late);
        ledger.committed(commit);
        assert_eq!(offsets(&ledger), [[5]]);

        let given = ledger.give(0, [(0, 5)]).unwrap();
        ledger.leave(0);
        assert!(!ledger.is_current_tag(0, given), "it is no use to read it again");
        ledger.acknowledge(0, given);
        assert_eq!(offsets(&ledger), [[6]], "what was in flight still counts");
        ledger.remove(0);
        ledger.acknowledge(0, late);
        assert_eq!(ledger.give(0, [(0, 1)]), None);
        assert_eq!(ledger.to_commit(None, true), []);
    }
}
