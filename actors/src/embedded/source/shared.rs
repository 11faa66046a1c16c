//! What the two halves of a source share: the books, and what the acker has to tell the reader.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use telemill_engine::position::Partition;
use tokio::sync::Notify;

use crate::embedded::log::{Log, Membership, Topic};
use crate::log::ledger::Ledger;
use crate::log::reading::Reading;

pub(super) struct Shared {
    pub(super) log: Arc<Log>,
    /// In the order of [`Reading::topics`].
    pub(super) topics: Vec<Arc<Topic>>,
    pub(super) group: String,
    pub(super) reading: Reading,
    state: Mutex<State>,
    /// The reader has something to look at.
    pub(super) told: Notify,
    closed: AtomicBool,
    _membership: Membership,
}

pub(super) struct State {
    pub(super) ledger: Ledger,
    /// Partitions to be assigned, or assigned anew.
    pub(super) to_assign: BTreeSet<Partition>,
}

impl Shared {
    pub(super) fn new(
        log: Arc<Log>,
        topics: Vec<Arc<Topic>>,
        group: String,
        reading: Reading,
        membership: Membership,
    ) -> Self {
        let partitions = topics.first().map_or(0, |topic| topic.partitions());
        let state = State { ledger: Ledger::default(), to_assign: (0..partitions).collect() };
        Shared {
            log,
            topics,
            group,
            reading,
            state: Mutex::new(state),
            told: Notify::new(),
            closed: AtomicBool::new(false),
            _membership: membership,
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a partition read again from where it is safe.
    pub(super) fn assign_again(&self, partition: Partition) {
        self.state().to_assign.insert(partition);
        self.told.notify_one();
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.told.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}
