//! A source's open acknowledgements, partition by partition.
//!
//! Every batch that goes out is entered with the source's own tag; its guard resolves the entry from wherever its last
//! share is dropped. The book gives delivered tags back in the order of reading. The first batch of a partition that was
//! let go of is reported once and ends the partition's sequence until the partition is assigned anew.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use crate::ack::{AckGuard, AckListener, OrderedAcks, Outcome, Resolved};
use crate::position::Partition;
use crate::sync::{AtomicBool, AtomicUsize, Mutex, MutexGuard, Notify, Ordering};

/// The open acknowledgements of a source.
#[derive(Default)]
pub(super) struct AckBook {
    partitions: Mutex<BTreeMap<Partition, Arc<Sequence>>>,
    shared: Arc<Shared>,
    /// Whether what was settled last is still being acknowledged.
    acknowledging: AtomicBool,
}

#[derive(Default)]
struct Shared {
    outstanding: AtomicUsize,
    /// For the one that settles.
    changed: Notify,
    /// For the one that waits until nothing is out.
    quiet: Notify,
}

impl Shared {
    fn resolved(&self) {
        self.outstanding.fetch_sub(1, Ordering::AcqRel);
        self.changed.notify_one();
        self.quiet.notify_one();
    }
}

/// Waits for the batches of a book, from outside its owner and after it.
#[derive(Clone)]
pub(super) struct Outstanding(Arc<Shared>);

impl Outstanding {
    /// Waits until nothing is out.
    pub(super) async fn none(&self) {
        while self.0.outstanding.load(Ordering::Acquire) > 0 {
            self.0.quiet.notified().await;
        }
    }
}

struct Sequence {
    ordered: Mutex<OrderedAcks<u64>>,
    outstanding: AtomicUsize,
    shared: Arc<Shared>,
}

impl AckListener for Sequence {
    fn resolved(&self, sequence: u64, outcome: Outcome) {
        lock(&self.ordered).resolve(sequence, outcome);
        self.outstanding.fetch_sub(1, Ordering::AcqRel);
        self.shared.resolved();
    }
}

/// What became of batches, each by partition and tag, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    pub delivered: Vec<(Partition, u64)>,
    pub let_go: Vec<(Partition, u64)>,
}

impl AckBook {
    /// A partition begins anew: what is still out of it no longer counts for its order.
    pub(super) fn begin(&self, partition: Partition) {
        lock(&self.partitions).remove(&partition);
    }

    /// A batch goes out.
    pub(super) fn enter(&self, partition: Partition, tag: u64) -> AckGuard {
        let mut partitions = lock(&self.partitions);
        let sequence = partitions.entry(partition).or_insert_with(|| {
            let shared = self.shared.clone();
            Arc::new(Sequence { ordered: Mutex::default(), outstanding: AtomicUsize::new(0), shared })
        });
        sequence.outstanding.fetch_add(1, Ordering::AcqRel);
        self.shared.outstanding.fetch_add(1, Ordering::AcqRel);
        let number = lock(&sequence.ordered).push(tag);
        AckGuard::new(number, sequence.clone())
    }

    /// What has become known since the last call.
    pub(super) fn settle(&self) -> Settled {
        let mut settled = Settled::default();
        for (partition, sequence) in lock(&self.partitions).iter() {
            let mut ordered = lock(&sequence.ordered);
            while let Some(resolved) = ordered.pop() {
                match resolved {
                    Resolved::Delivered(tag) => settled.delivered.push((*partition, tag)),
                    Resolved::NotDelivered(tag) => settled.let_go.push((*partition, tag)),
                }
            }
        }
        self.acknowledging.store(!settled.delivered.is_empty() || !settled.let_go.is_empty(), Ordering::Release);
        settled
    }

    /// What was settled last is acknowledged.
    pub(super) fn acknowledged(&self) {
        self.acknowledging.store(false, Ordering::Release);
        self.shared.quiet.notify_one();
    }

    /// Waits until nothing of a partition is out and everything delivered of it is acknowledged. Only one may wait.
    pub(super) async fn is_quiet(&self, partition: Partition) {
        let is_busy = || {
            let sequence = lock(&self.partitions).get(&partition).cloned();
            let is_open = |s: Arc<Sequence>| s.outstanding.load(Ordering::Acquire) > 0 || lock(&s.ordered).has_next();
            sequence.is_some_and(is_open) || self.acknowledging.load(Ordering::Acquire)
        };
        while is_busy() {
            self.shared.quiet.notified().await;
        }
    }

    /// To wait for what is out, even when the book is gone.
    pub(super) fn watch(&self) -> Outstanding {
        Outstanding(self.shared.clone())
    }

    /// Waits until a guard has resolved.
    pub(super) async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    /// The batches that are out, those of ended sequences included.
    pub(super) fn outstanding(&self) -> usize {
        self.shared.outstanding.load(Ordering::Acquire)
    }

    /// Waits until nothing is out.
    pub(super) async fn all_resolved(&self) {
        self.watch().none().await;
    }

    /// Forgets all sequences. What is still out resolves unheard.
    pub(super) fn clear(&self) {
        lock(&self.partitions).clear();
        self.acknowledging.store(false, Ordering::Release);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_ordered_each_for_itself() {
        let book = AckBook::default();
        let (a1, a2, b1) = (book.enter(0, 1), book.enter(0, 2), book.enter(1, 9));
        a2.delivered();
        b1.delivered();
        assert_eq!(book.settle(), Settled { delivered: vec![(1, 9)], let_go: vec![] });
        a1.delivered();
        assert_eq!(book.settle().delivered, [(0, 1), (0, 2)]);
        assert_eq!(book.outstanding(), 0);
    }

    #[test]
    fn a_batch_let_go_of_ends_the_sequence_until_the_partition_begins_anew() {
        let book = AckBook::default();
        let (first, second) = (book.enter(0, 1), book.enter(0, 2));
        drop(first);
        second.delivered();
        assert_eq!(book.settle(), Settled { delivered: vec![], let_go: vec![(0, 1)] });
        book.enter(0, 3).delivered();
        assert_eq!(book.settle(), Settled::default());
        book.begin(0);
        book.enter(0, 1).delivered();
        assert_eq!(book.settle().delivered, [(0, 1)]);
    }
}
