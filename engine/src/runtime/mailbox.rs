//! The bounded queue in front of a stage.
//!
//! Bounded in records and in bytes, by permits that a delivery keeps until the stage is done with it: so the capacity
//! covers what is queued, in hand and in flight. A sender waits for room; the wait is measured. A batch larger than
//! the whole capacity passes alone.
//!
//! The queue outlives its stage's actor: a restarted stage goes on with the same mailbox. It is closed when the last
//! sender is gone, which is how a drain travels from the sources to the sinks.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

use tokio::time::Instant;

use crate::batch::Batch;
use crate::metrics::StageMetrics;
use crate::sync::{AtomicUsize, Mutex, MutexGuard, Notify, Ordering, OwnedSemaphorePermit, Semaphore};

/// How much a mailbox holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Records queued, in hand and in flight.
    pub records: usize,
    /// Their bytes, by [`crate::record::Record::weight`].
    pub bytes: usize,
}

impl Default for Capacity {
    /// Eight batches of 512 records, 16 MiB.
    fn default() -> Self {
        Capacity { records: 4096, bytes: 16 << 20 }
    }
}

/// A batch and the room it takes up; dropping the room lets the next one in.
#[derive(Debug)]
pub struct Delivery {
    /// The batch.
    pub batch: Batch,
    /// Its room.
    pub room: Room,
}

/// Room in a mailbox.
#[derive(Debug)]
pub struct Room {
    _records: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

/// The mailbox was closed from the other end: the stage is gone for good.
#[derive(Debug, thiserror::Error)]
#[error("the stage behind this mailbox has ended")]
pub struct Closed;

struct Shared {
    queue: Mutex<Queue>,
    queued_records: AtomicUsize,
    arrived: Notify,
    records: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    capacity: Capacity,
    senders: AtomicUsize,
    metrics: Arc<StageMetrics>,
}

#[derive(Default)]
struct Queue {
    deliveries: VecDeque<Delivery>,
    closed: bool,
}

/// The sending end; one for each outlet that feeds the mailbox.
pub struct MailboxSender(Arc<Shared>);

/// The receiving end. It may be handed from one incarnation of the stage to the next; dropping it closes the mailbox.
pub struct Mailbox(Arc<Shared>);

/// A mailbox for the stage that `metrics` belong to.
pub fn mailbox(capacity: Capacity, metrics: Arc<StageMetrics>) -> (MailboxSender, Mailbox) {
    let capacity = Capacity {
        records: capacity.records.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize)),
        bytes: capacity.bytes.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize)),
    };
    metrics.mailbox_capacity(capacity.records);
    let shared = Arc::new(Shared {
        queue: Mutex::default(),
        queued_records: AtomicUsize::new(0),
        arrived: Notify::new(),
        records: Arc::new(Semaphore::new(capacity.records)),
        bytes: Arc::new(Semaphore::new(capacity.bytes)),
        capacity,
        senders: AtomicUsize::new(1),
        metrics,
    });
    (MailboxSender(shared.clone()), Mailbox(shared))
}

impl MailboxSender {
    /// Puts a batch into the mailbox, waiting for room. Cancel-safe: a batch whose send was cancelled is dropped with
    /// its guards, never half queued.
    pub async fn send(&self, batch: Batch) -> Result<(), Closed> {
        let shared = &self.0;
        let records = batch.len().clamp(1, shared.capacity.records) as u32;
        let bytes = batch.weight().clamp(1, shared.capacity.bytes) as u32;
        let room = match (shared.records.clone().try_acquire_many_owned(records), shared.bytes.clone()) {
            (Ok(records), semaphore) => match semaphore.clone().try_acquire_many_owned(bytes) {
                Ok(bytes) => Room { _records: records, _bytes: bytes },
                Err(_) => self.wait(Some(records), 0, bytes).await?,
            },
            (Err(_), _) => self.wait(None, records, bytes).await?,
        };
        let mut queue = shared.lock();
        if queue.closed {
            return Err(Closed);
        }
        let queued = shared.queued_records.fetch_add(batch.len(), Ordering::Relaxed) + batch.len();
        shared.metrics.mailbox_records(queued);
        queue.deliveries.push_back(Delivery { batch, room });
        drop(queue);
        shared.arrived.notify_one();
        Ok(())
    }

    async fn wait(&self, have: Option<OwnedSemaphorePermit>, records: u32, bytes: u32) -> Result<Room, Closed> {
        let started = Instant::now();
        let records = match have {
            Some(permit) => permit,
            None => self.0.records.clone().acquire_many_owned(records).await.map_err(|_| Closed)?,
        };
        let bytes = self.0.bytes.clone().acquire_many_owned(bytes).await.map_err(|_| Closed)?;
        self.0.metrics.sender_waited(started.elapsed());
        Ok(Room { _records: records, _bytes: bytes })
    }
}

impl Clone for MailboxSender {
    fn clone(&self) -> Self {
        self.0.senders.fetch_add(1, Ordering::Relaxed);
        MailboxSender(self.0.clone())
    }
}

impl Drop for MailboxSender {
    fn drop(&mut self) {
        if self.0.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.arrived.notify_one();
        }
    }
}

impl Mailbox {
    /// The next delivery; `None` once it is empty and closed. Cancel-safe. Only one receiver waits at a time.
    pub async fn receive(&self) -> Option<Delivery> {
        loop {
            let closed = self.0.senders.load(Ordering::Acquire) == 0;
            if let Some(delivery) = self.try_receive() {
                return Some(delivery);
            }
            if closed {
                return None;
            }
            self.0.arrived.notified().await;
        }
    }

    /// The next delivery, if one is there.
    pub fn try_receive(&self) -> Option<Delivery> {
        self.try_receive_if(|_| true)
    }

    /// The first delivery for which `wanted` says so, if there is one. What stands before it stays: only for deliveries
    /// whose order among the others does not matter.
    pub fn try_receive_if(&self, mut wanted: impl FnMut(&Batch) -> bool) -> Option<Delivery> {
        let mut queue = self.0.lock();
        let index = queue.deliveries.iter().position(|delivery| wanted(&delivery.batch))?;
        let delivery = queue.deliveries.remove(index)?;
        let before = self.0.queued_records.fetch_sub(delivery.batch.len(), Ordering::Relaxed);
        self.0.metrics.mailbox_records(before - delivery.batch.len());
        Some(delivery)
    }

    /// Waits until something has arrived or the mailbox was closed. May wake early.
    pub async fn changed(&self) {
        self.0.arrived.notified().await;
    }

    /// The records that are queued, without those in hand and in flight.
    pub fn queued_records(&self) -> usize {
        self.0.queued_records.load(Ordering::Relaxed)
    }

    /// Whether nothing is queued and nobody can send any more.
    pub fn is_finished(&self) -> bool {
        self.0.senders.load(Ordering::Acquire) == 0 && self.0.lock().deliveries.is_empty()
    }

    /// Waits until nothing is queued and nobody can send any more. Not beside a receive.
    pub async fn finished(&self) {
        while !self.is_finished() {
            self.0.arrived.notified().await;
        }
    }

    /// Lets go of everything queued, and of everyone who waits for room.
    pub fn close(&self) {
        self.0.records.close();
        self.0.bytes.close();
        let mut queue = self.0.lock();
        queue.closed = true;
        let dropped = std::mem::take(&mut queue.deliveries);
        self.0.queued_records.store(0, Ordering::Relaxed);
        drop(queue);
        // Their guards call back: never under the lock.
        drop(dropped);
    }
}

impl Drop for Mailbox {
    /// The stage is gone for good: nobody may wait for room that will never be.
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ack::Guards;
    use crate::testing::record;
    use futures_util::FutureExt;

    fn batch(records: usize) -> Batch {
        Batch::new(0, (0..records).map(|n| record("d1", n)).collect(), Guards::none())
    }

    fn with_capacity(records: usize) -> (MailboxSender, Mailbox) {
        mailbox(Capacity { records, bytes: usize::MAX }, StageMetrics::detached("test"))
    }

    #[tokio::test]
    async fn room_is_given_back_when_the_delivery_is_done_not_when_it_is_received() {
        let (sender, mailbox) = with_capacity(10);
        sender.send(batch(6)).await.unwrap();
        sender.send(batch(4)).await.unwrap();
        assert_eq!(mailbox.queued_records(), 10);
        assert!(sender.send(batch(1)).now_or_never().is_none(), "full");
        let first = mailbox.receive().await.unwrap();
        assert!(sender.send(batch(1)).now_or_never().is_none(), "in hand is not done");
        drop(first);
        assert!(sender.send(batch(6)).now_or_never().is_some());
        assert_eq!(mailbox.queued_records(), 10);
    }

    #[tokio::test]
    async fn bytes_bound_it_too() {
        let weight = batch(1).weight();
        let capacity = Capacity { records: 1000, bytes: 3 * weight };
        let (sender, _mailbox) = mailbox(capacity, StageMetrics::detached("test"));
        sender.send(batch(3)).await.unwrap();
        assert!(sender.send(batch(1)).now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_batch_larger_than_the_mailbox_passes_alone() {
        let (sender, mailbox) = with_capacity(2);
        sender.send(batch(5)).await.unwrap();
        assert!(sender.send(batch(1)).now_or_never().is_none());
        assert_eq!(mailbox.receive().await.unwrap().batch.len(), 5);
        assert!(sender.send(batch(1)).now_or_never().is_some());
    }

    #[tokio::test]
    async fn it_ends_when_the_last_sender_is_gone_and_it_is_empty() {
        let (sender, mailbox) = with_capacity(10);
        let other = sender.clone();
        sender.send(batch(1)).await.unwrap();
        drop(sender);
        assert!(mailbox.receive().await.is_some());
        assert!(mailbox.receive().now_or_never().is_none(), "one sender is left");
        drop(other);
        assert!(mailbox.receive().await.is_none());
        assert!(mailbox.is_finished());
    }

    #[tokio::test]
    async fn a_mailbox_that_is_dropped_lets_go_of_everything_and_everybody() {
        let (sender, mailbox) = with_capacity(1);
        sender.send(batch(1)).await.unwrap();
        let other = sender.clone();
        let waiting = tokio::spawn(async move { other.send(batch(1)).await });
        tokio::task::yield_now().await;
        drop(mailbox);
        assert!(waiting.await.unwrap().is_err());
        assert!(sender.send(batch(1)).await.is_err());
    }

    #[tokio::test]
    async fn closing_frees_those_who_wait() {
        let (sender, mailbox) = with_capacity(1);
        sender.send(batch(1)).await.unwrap();
        let waiting = tokio::spawn(async move { sender.send(batch(1)).await });
        tokio::task::yield_now().await;
        mailbox.close();
        assert!(waiting.await.unwrap().is_err());
    }
}
