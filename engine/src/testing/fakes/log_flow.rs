//! What the two halves of a log source share: where each partition is read, what is out, and what was lost meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::batch::Previous;
use crate::position::{Epoch, Partition, TopicId};
use crate::testing::world::World;

/// What the two halves of a log source share.
pub(super) struct LogFlow {
    pub(super) epoch: Epoch,
    pub(super) topics: [(&'static str, TopicId); 2],
    /// Told when a partition has to be assigned anew.
    pub(super) wake: Notify,
    inner: Mutex<Inner>,
}

/// See [`LogFlow`].
#[derive(Default)]
pub(super) struct Inner {
    /// Where each partition that may be read is read next, topic by topic.
    pub(super) reading: BTreeMap<Partition, Reading>,
    pub(super) to_assign: BTreeSet<Partition>,
    /// What is out: the tag's partition and the next offsets behind it.
    pub(super) open: BTreeMap<u64, (Partition, [i64; 2])>,
    /// What was out when its partition was lost: acknowledged it may be, committed it must not.
    pub(super) lost: BTreeSet<u64>,
}

/// Where a partition is read next, topic by topic, and what came before.
#[derive(Clone, Default)]
pub(super) struct Reading {
    pub(super) next: [i64; 2],
    pub(super) previous: Previous,
}

impl LogFlow {
    pub(super) fn new(world: &World, epoch: Epoch) -> Self {
        let topics = ["data", "marks"].map(|name| (name, world.log.id(name)));
        let inner = Inner { to_assign: (0..world.log.partitions()).collect(), ..Inner::default() };
        LogFlow { epoch, topics, wake: Notify::new(), inner: Mutex::new(inner) }
    }

    /// A partition is somebody else's, whatever is out of it. Nothing of it is read before it is assigned again.
    pub(super) fn lose(&self, partition: Partition) {
        let mut inner = self.lock();
        let Inner { reading, open, lost, to_assign, .. } = &mut *inner;
        reading.remove(&partition);
        to_assign.remove(&partition);
        open.retain(|tag, (p, _)| {
            let is_lost = *p == partition;
            if is_lost {
                lost.insert(*tag);
            }
            !is_lost
        });
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
