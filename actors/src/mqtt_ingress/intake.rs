//! What stands between the client's task on one side and the reader and acker on the other.
//!
//! The task puts in what has arrived; the reader takes out all that is there, up to a number, under one lock: a batch
//! costs one lock, not one a record. The acker leaves word of what is safe, and of what it wants; the task is woken once
//! and finds all of it.
//!
//! Bounded in records and bytes. The bound in records is above the broker's window, so that against a broker that keeps
//! its window the task always reads, answers pings, and the window throttles. Past a bound (a flood of QoS 0, or
//! payloads of megabytes) the task stops reading, and TCP throttles.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use telemill_engine::batch::Previous;
use telemill_engine::record::{Origin, Record};
use telemill_engine::source::{RejectedRecord, SourceBatch, SourceError, SourceEvent};
use tokio::sync::{Notify, watch};

use crate::ingress::Mark;

/// The partition of the one slot.
pub(super) const PARTITION: i32 = 0;

/// The most bytes that wait for the reader, unless one message alone is larger.
const MAX_BYTES: usize = 32 << 20;

/// Something that arrived.
#[derive(Debug)]
pub(super) enum Item {
    Record(Record),
    Rejected(RejectedRecord),
    Mark(Mark),
}

impl Item {
    /// Says where the item came from; a mark comes from nowhere.
    pub(super) fn set_origin(&mut self, origin: Origin) {
        match self {
            Item::Record(record) | Item::Rejected(RejectedRecord { record, .. }) => record.origin = Some(origin),
            Item::Mark(_) => {}
        }
    }

    /// Where the item came from.
    pub(super) fn origin_mut(&mut self) -> Option<&mut Origin> {
        match self {
            Item::Record(record) | Item::Rejected(RejectedRecord { record, .. }) => record.origin.as_mut(),
            Item::Mark(_) => None,
        }
    }

    fn weight(&self) -> usize {
        match self {
            Item::Record(record) => record.weight(),
            Item::Rejected(rejected) => rejected.record.weight() + rejected.why.source.len(),
            Item::Mark(_) => std::mem::size_of::<Item>(),
        }
    }
}

/// What the task is to know and to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Orders {
    /// The reader may be given records: the engine has assigned the partition.
    pub(super) assigned: bool,
    /// There is room for more.
    pub(super) room: bool,
    /// The last delivery of this slot-session that is safe.
    pub(super) safe: u64,
    /// Leave, gracefully.
    pub(super) closing: bool,
}

/// The meeting place. Shared by the task, the reader and the acker.
pub(super) struct Intake {
    inner: Mutex<Inner>,
    max_records: usize,
    /// Wakes the reader.
    readable: Notify,
    /// Wakes the task.
    orders: Notify,
}

#[derive(Default)]
struct Inner {
    queue: VecDeque<Item>,
    bytes: usize,
    /// Batches handed out and not acknowledged: tag, slot-session's number, last delivery.
    out: VecDeque<(u64, u64, u64)>,
    last_tag: u64,
    /// Counts the slot-sessions of this process: what was handed out in an earlier one has no say in a later one.
    life: u64,
    safe: u64,
    assignment: Assignment,
    /// The session has what it should have, for the first time: what devices publish is kept from now on.
    serves: watch::Sender<bool>,
    /// The task is to leave; what the reader is to hear then.
    closing: Option<Option<Failure>>,
    /// The task has ended; why, unless there is simply no more.
    ended: Option<Option<Failure>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Assignment {
    #[default]
    Needed,
    Asked,
    Done,
}

/// Why there is nothing more to read.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// Going on would only do harm.
    Broken(String),
    /// The source is to be built again.
    Rebuild(&'static str),
}

/// What the reader finds.
pub(super) enum Found {
    Nothing,
    /// The engine is to be asked for the partition.
    Unassigned,
    Event(Result<SourceEvent, SourceError>),
}

impl Intake {
    /// Holds `max_records` records before the task stops reading.
    pub(super) fn new(max_records: usize) -> Arc<Self> {
        let (inner, readable, orders) = (Mutex::default(), Notify::new(), Notify::new());
        Arc::new(Intake { inner, max_records, readable, orders })
    }

    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn has_room(&self, inner: &Inner) -> bool {
        inner.queue.len() < self.max_records && inner.bytes < MAX_BYTES
    }

    // The task's side.

    /// Puts in what has arrived, in order; leaves `items` empty.
    pub(super) fn put(&self, items: &mut Vec<Item>) {
        if items.is_empty() {
            return;
        }
        self.with(|inner| {
            inner.bytes += items.iter().map(Item::weight).sum::<usize>();
            inner.queue.extend(items.drain(..));
        });
        self.readable.notify_one();
    }

    /// Puts in a mark; one that directly follows another prolongs it, so that marks never pile up.
    pub(super) fn put_mark(&self, mark: Mark) {
        self.with(|inner| match inner.queue.back_mut() {
            Some(Item::Mark(last)) if last.span.time == mark.span.since && last.slot_session == mark.slot_session => {
                last.span.time = mark.span.time;
            }
            _ => {
                let item = Item::Mark(mark);
                inner.bytes += item.weight();
                inner.queue.push_back(item);
            }
        });
        self.readable.notify_one();
    }

    /// Takes out everything that the reader has not been given.
    pub(super) fn take_back(&self) -> VecDeque<Item> {
        self.with(|inner| {
            inner.bytes = 0;
            std::mem::take(&mut inner.queue)
        })
    }

    /// A new slot-session has begun: deliveries count from 1, and nothing of the old one is acknowledged any more.
    pub(super) fn new_life(&self) {
        self.with(|inner| {
            inner.life += 1;
            inner.safe = 0;
        });
    }

    /// The session has what it should have: nothing that devices publish passes it by.
    pub(super) fn serves(&self) {
        self.with(|inner| inner.serves.send_replace(true));
    }

    /// What there is to know now.
    pub(super) fn orders(&self) -> Orders {
        self.with(|inner| Orders {
            assigned: inner.assignment == Assignment::Done,
            room: self.has_room(inner),
            safe: inner.safe,
            closing: inner.closing.is_some(),
        })
    }

    /// Returns when [`Intake::orders`] may have changed since it was last asked. Safe to cancel.
    pub(super) async fn woken(&self) {
        self.orders.notified().await;
    }

    /// The task has ended. The first word counts.
    pub(super) fn end(&self, why: Option<Failure>) {
        self.with(|inner| {
            let asked = inner.closing.clone().flatten();
            inner.ended.get_or_insert(why.or(asked));
        });
        self.readable.notify_one();
    }

    // The reader's side.

    /// Takes out what is there, up to `max_records`.
    pub(super) fn take(&self, max_records: usize) -> Found {
        let (found, room_again) = self.with(|inner| {
            if let Some(ended) = &inner.ended {
                return (Found::Event(Inner::ending(ended.as_ref())), false);
            }
            if inner.assignment != Assignment::Done {
                let ask = inner.assignment == Assignment::Needed;
                inner.assignment = Assignment::Asked;
                return (if ask { Found::Unassigned } else { Found::Nothing }, false);
            }
            if inner.queue.is_empty() {
                return (Found::Nothing, false);
            }
            let was_full = !self.has_room(inner);
            let batch = inner.batch(max_records.max(1));
            (Found::Event(Ok(SourceEvent::Batch(batch))), was_full && self.has_room(inner))
        });
        if room_again {
            self.orders.notify_one();
        }
        found
    }

    /// Returns when the session has had what it should have, once.
    pub(super) fn serving(&self) -> impl Future<Output = ()> + use<> {
        let mut serves = self.with(|inner| inner.serves.subscribe());
        async move {
            // Without its task there is nobody left to serve, and reading says why.
            let _ = serves.wait_for(|serves| *serves).await;
        }
    }

    /// Returns when [`Intake::take`] may find something. Safe to cancel.
    pub(super) async fn readable(&self) {
        self.readable.notified().await;
    }

    /// The engine has assigned the partition.
    pub(super) fn assigned(&self) {
        self.with(|inner| inner.assignment = Assignment::Done);
        self.orders.notify_one();
    }

    // The acker's side.

    /// These batches, and all handed out before them, are safe.
    pub(super) fn acknowledge(&self, tags: impl IntoIterator<Item = u64>) {
        self.with(|inner| {
            let Some(last) = tags.into_iter().max() else { return };
            let done = inner.out.iter().take_while(|(tag, ..)| *tag <= last).count();
            for (_, life, delivery) in inner.out.drain(..done) {
                if life == inner.life {
                    inner.safe = inner.safe.max(delivery);
                }
            }
        });
        self.orders.notify_one();
    }

    /// The task is to send what is safe, and to leave; then the reader is told why.
    pub(super) fn close(&self, why: Option<Failure>) {
        self.with(|inner| inner.closing.get_or_insert(why).is_some());
        self.orders.notify_one();
    }
}

impl Inner {
    fn ending(why: Option<&Failure>) -> Result<SourceEvent, SourceError> {
        match why {
            None => Ok(SourceEvent::End),
            Some(Failure::Broken(why)) => Err(SourceError::Broken(why.clone())),
            Some(Failure::Rebuild(why)) => Err(SourceError::Unavailable((*why).to_owned())),
        }
    }

    fn batch(&mut self, max_records: usize) -> SourceBatch {
        let count = self.queue.len().min(max_records);
        let mut batch = SourceBatch { partition: PARTITION, previous: Previous::new(), ..SourceBatch::default() };
        batch.records.reserve_exact(count);
        // Of a batch of marks alone nothing becomes safe that was not.
        let mut last_delivery = 0;
        for item in self.queue.drain(..count) {
            self.bytes -= item.weight();
            let record = match item {
                Item::Record(record) => record,
                Item::Mark(mark) => mark.record(),
                Item::Rejected(rejected) => {
                    last_delivery = rejected.record.origin.map_or(last_delivery, |origin| origin.delivery);
                    batch.rejected.push(rejected);
                    continue;
                }
            };
            last_delivery = record.origin.map_or(last_delivery, |origin| origin.delivery);
            batch.records.push(record);
        }
        self.last_tag += 1;
        batch.tag = self.last_tag;
        self.out.push_back((batch.tag, self.life, last_delivery));
        batch
    }
}

#[cfg(test)]
mod tests;
