//! Acknowledgements that cannot be forgotten.
//!
//! Every batch that leaves a source carries an [`AckGuard`]. A guard is owned, cloned where the batch fans out, and
//! resolved once by each owner. When the last clone is gone the source hears the worst of what they said; a guard that
//! was dropped without a word counts as [`Outcome::NotDelivered`]. So a stage that panics, is cancelled or forgets can
//! delay an acknowledgement, never invent one.
//!
//! [`OrderedAcks`] puts the outcomes back into the order in which a partition's batches were read.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::sync::{self, AtomicU8, Ordering};

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Every required branch has it, or it is in the dead letters.
    Delivered,
    /// Somebody let go of it: it has to be read again.
    NotDelivered,
}

/// Who wants to hear an outcome. Called once, from wherever the last clone is dropped; must not block.
pub trait AckListener: Send + Sync {
    /// `tag` is what the listener gave when it made the guard.
    fn resolved(&self, tag: u64, outcome: Outcome);
}

struct AckCell {
    worst: AtomicU8,
    tag: u64,
    listener: Arc<dyn AckListener>,
}

impl Drop for AckCell {
    fn drop(&mut self) {
        let outcome = match self.worst.load(Ordering::Relaxed) {
            0 => Outcome::Delivered,
            _ => Outcome::NotDelivered,
        };
        self.listener.resolved(self.tag, outcome);
    }
}

/// One owner's share of an acknowledgement.
#[must_use = "a guard dropped unresolved means not delivered"]
pub struct AckGuard {
    cell: sync::Arc<AckCell>,
    said: bool,
}

impl AckGuard {
    /// A guard whose outcome goes to `listener` under `tag`.
    pub fn new(tag: u64, listener: Arc<dyn AckListener>) -> Self {
        AckGuard { cell: sync::Arc::new(AckCell { worst: AtomicU8::new(0), tag, listener }), said: false }
    }

    /// A guard that nobody listens to, for records that may be lost.
    pub fn nobody() -> Self {
        struct Nobody;
        impl AckListener for Nobody {
            fn resolved(&self, _: u64, _: Outcome) {}
        }
        AckGuard::new(0, Arc::new(Nobody))
    }

    /// This owner's share is safe.
    pub fn delivered(mut self) {
        self.said = true;
    }
}

impl Clone for AckGuard {
    fn clone(&self) -> Self {
        AckGuard { cell: self.cell.clone(), said: false }
    }
}

impl Drop for AckGuard {
    fn drop(&mut self) {
        if !self.said {
            // Release on the decrement of the Arc's count orders this store before the cell's drop.
            self.cell.worst.store(1, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for AckGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AckGuard({})", self.cell.tag)
    }
}

/// The guards of a batch: one, or several once batches were joined.
#[derive(Debug, Default)]
pub struct Guards(SmallVec<[AckGuard; 1]>);

impl Guards {
    /// No guards: a batch that nothing depends on.
    pub fn none() -> Self {
        Guards::default()
    }

    /// Resolves them all as delivered.
    pub fn delivered(self) {
        self.0.into_iter().for_each(AckGuard::delivered);
    }

    /// Takes over the guards of another batch.
    pub fn join(&mut self, other: Guards) {
        self.0.extend(other.0);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Another owner's share of the same acknowledgements.
    pub fn share(&self) -> Guards {
        Guards(self.0.iter().cloned().collect())
    }
}

impl From<AckGuard> for Guards {
    fn from(guard: AckGuard) -> Self {
        Guards(SmallVec::from_buf([guard]))
    }
}

/// Outcomes of one partition's batches, given back in the order in which the batches were read.
///
/// The first batch that was not delivered ends the sequence: nothing behind it is ever given out, because the source
/// must read from there again.
#[derive(Debug)]
pub struct OrderedAcks<T> {
    waiting: VecDeque<(u64, T, Option<Outcome>)>,
    next: u64,
    broken: bool,
}

impl<T> Default for OrderedAcks<T> {
    fn default() -> Self {
        OrderedAcks { waiting: VecDeque::new(), next: 0, broken: false }
    }
}

/// What [`OrderedAcks`] has to say.
#[derive(Debug, PartialEq, Eq)]
pub enum Resolved<T> {
    /// This batch, and all before it, are delivered.
    Delivered(T),
    /// This batch was not; all before it were. The sequence has ended.
    NotDelivered(T),
}

impl<T> OrderedAcks<T> {
    /// A batch has been read; the number returned is the tag for its guard.
    pub fn push(&mut self, item: T) -> u64 {
        let sequence = self.next;
        self.next += 1;
        self.waiting.push_back((sequence, item, None));
        sequence
    }

    /// A guard has resolved.
    pub fn resolve(&mut self, sequence: u64, outcome: Outcome) {
        let Some((first, ..)) = self.waiting.front() else { return };
        let Some(index) = sequence.checked_sub(*first) else { return };
        if let Some(entry) = self.waiting.get_mut(index as usize) {
            entry.2 = Some(outcome);
        }
    }

    /// The next batch in order, if its outcome is known.
    pub fn pop(&mut self) -> Option<Resolved<T>> {
        if self.broken {
            return None;
        }
        let (_, _, outcome) = self.waiting.front()?;
        let outcome = (*outcome)?;
        let (_, item, _) = self.waiting.pop_front()?;
        match outcome {
            Outcome::Delivered => Some(Resolved::Delivered(item)),
            Outcome::NotDelivered => {
                self.broken = true;
                Some(Resolved::NotDelivered(item))
            }
        }
    }

    /// Whether [`OrderedAcks::pop`] has something to say.
    pub fn has_next(&self) -> bool {
        !self.broken && self.waiting.front().is_some_and(|(.., outcome)| outcome.is_some())
    }

    /// How many batches have no outcome yet, or wait for one before them.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether everything that was read has been given back.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether a batch was not delivered, so that nothing more will be given out.
    pub fn is_broken(&self) -> bool {
        self.broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Heard(Mutex<Vec<(u64, Outcome)>>);
    impl AckListener for Heard {
        fn resolved(&self, tag: u64, outcome: Outcome) {
            self.0.lock().unwrap().push((tag, outcome));
        }
    }

    #[test]
    fn the_worst_of_all_clones_is_heard_once() {
        let check = |say: &[bool], expect| {
            let heard = Arc::new(Heard::default());
            let guard = AckGuard::new(5, heard.clone());
            let clones: Vec<_> = say.iter().map(|_| guard.clone()).collect();
            guard.delivered();
            for (clone, delivered) in clones.into_iter().zip(say) {
                assert!(heard.0.lock().unwrap().is_empty(), "an owner is left");
                if *delivered { clone.delivered() } else { drop(clone) }
            }
            assert_eq!(*heard.0.lock().unwrap(), [(5, expect)]);
        };
        check(&[], Outcome::Delivered);
        check(&[true, true], Outcome::Delivered);
        check(&[true, false], Outcome::NotDelivered);
        check(&[false, true], Outcome::NotDelivered);
    }

    #[test]
    fn a_panic_that_unwinds_past_a_guard_is_not_a_delivery() {
        let heard = Arc::new(Heard::default());
        let guard = AckGuard::new(1, heard.clone());
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _guard = guard;
            panic!("on purpose");
        }));
        assert_eq!(*heard.0.lock().unwrap(), [(1, Outcome::NotDelivered)]);
    }

    #[test]
    fn outcomes_come_back_in_order_and_end_at_the_first_failure() {
        let mut acks = OrderedAcks::default();
        let tags: Vec<u64> = ["a", "b", "c", "d"].into_iter().map(|item| acks.push(item)).collect();
        acks.resolve(tags[1], Outcome::Delivered);
        assert_eq!(acks.pop(), None, "the first has no outcome yet");
        acks.resolve(tags[0], Outcome::Delivered);
        assert_eq!(acks.pop(), Some(Resolved::Delivered("a")));
        assert_eq!(acks.pop(), Some(Resolved::Delivered("b")));
        acks.resolve(tags[3], Outcome::Delivered);
        acks.resolve(tags[2], Outcome::NotDelivered);
        assert_eq!(acks.pop(), Some(Resolved::NotDelivered("c")));
        assert_eq!(acks.pop(), None, "nothing behind a failure is given out");
        assert!(acks.is_broken());
    }
}
