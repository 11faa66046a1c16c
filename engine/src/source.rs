//! Where records come from.
//!
//! A source has two halves that never wait for each other: a [`SourceReader`] that reads as long as there is room
//! downstream, and an [`Acker`] that hears, in the order of reading, what became of each batch. Reading never waits
//! for acknowledging; what bounds the distance between them is the capacity of the mailboxes.
//!
//! Partitions are the source's unit of order and ownership. Before the first batch of a partition a source that keeps
//! positions asks the engine where to begin ([`SourceEvent::Assigned`]); the engine asks everything that hangs on the
//! source, and the source seeks to the lowest answer.

use std::future::Future;

use futures_util::future::{BoxFuture, FutureExt};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::batch::Previous;
use crate::position::{Cursor, Partition};
use crate::record::{DeadReason, Record};

/// A source, connected and ready to be read.
pub trait Source: Send + 'static {
    /// The reading half.
    type Reader: SourceReader;
    /// The acknowledging half.
    type Acker: Acker;

    /// Takes the source apart.
    fn split(self) -> (Self::Reader, Self::Acker);
}

/// The reading half of a source.
pub trait SourceReader: Send + 'static {
    /// What comes next: what is there now, up to `max_records`; waits only when there is nothing.
    ///
    /// Must be cancel-safe: dropped before it is ready, it has lost nothing.
    fn next(&mut self, max_records: usize) -> impl Future<Output = Result<SourceEvent, SourceError>> + Send;

    /// How many partitions there are, those of other instances included. It never changes while a topic exists.
    fn partitions(&self) -> u32 {
        1
    }

    /// Resolves when the source takes what is sent to it, for the first time: from then on its stage counts as running.
    /// It is waited for while the source is read. By default a source takes everything as soon as it is built.
    fn serving(&self) -> BoxFuture<'static, ()> {
        std::future::ready(()).boxed()
    }
}

/// What a source has to say.
#[derive(Debug)]
pub enum SourceEvent {
    /// Records of one partition.
    Batch(SourceBatch),
    /// These partitions are ours now. The source reads none of them before it has the reply.
    Assigned {
        /// The partitions gained.
        partitions: Vec<Partition>,
        /// Where to begin, one entry a partition.
        reply: oneshot::Sender<Vec<(Partition, ResumeAt)>>,
    },
    /// These partitions are about to be given up. Everything read from them is drained, checkpointed and acknowledged
    /// before `done` is sent; a source that cannot wait longer drops its receiver.
    Revoked {
        /// The partitions to give up.
        partitions: Vec<Partition>,
        /// Sent when nothing of them is in flight.
        done: oneshot::Sender<()>,
    },
    /// There will never be more.
    End,
}

/// Records of one partition as the source read them.
#[derive(Debug, Default)]
pub struct SourceBatch {
    /// The partition.
    pub partition: Partition,
    /// In order.
    pub records: Vec<Record>,
    /// Records that the source itself found unfit; they go to the dead letters, and the batch is acknowledged only
    /// when they are there.
    pub rejected: Vec<RejectedRecord>,
    /// What came before, as in [`crate::batch::Batch::previous`].
    pub previous: Previous,
    /// The source's own number for this batch, given back to the [`Acker`].
    pub tag: u64,
}

/// A message that is no record, with what is known of it.
#[derive(Debug)]
pub struct RejectedRecord {
    /// The raw bytes as the record's payload; the device may be a placeholder when the name was unfit.
    pub record: Record,
    /// Why.
    pub why: DeadReason,
}

/// Where a partition is to be read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResumeAt {
    /// Nothing that hangs on the source keeps positions: go by the source's own commit.
    Committed,
    /// Behind this cursor, topic by topic, or the source's own commit where that is lower. A topic that is not in the
    /// cursor is read from the earliest record retained.
    Behind(Cursor),
}

/// The acknowledging half of a source.
pub trait Acker: Send + 'static {
    /// These batches, and all before them in their partitions, are safe. Several are given at once when there are
    /// several, in order.
    fn acknowledge(&mut self, batches: Vec<(Partition, u64)>) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// This batch was let go of: the partition has to be read again from it. Nothing behind it will be acknowledged
    /// until the source has assigned the partition anew.
    fn give_back(&mut self, partition: Partition, tag: u64) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// The source is drained: commit what is acknowledged and let go of the connection.
    fn close(&mut self) -> impl Future<Output = Result<(), SourceError>> + Send;
}

/// Why a source cannot go on.
#[derive(Debug, Error)]
pub enum SourceError {
    /// The other side is gone: the source is rebuilt with back-off for as long as it takes. No failure of ours.
    #[error("{0}")]
    Unavailable(String),
    /// Order or completeness can no longer be kept (a topic recreated or repartitioned, a position below what is
    /// retained, ownership lost): the topology stops with this as its reason.
    #[error("{0}")]
    Broken(String),
}
