//! Where records go.
//!
//! A sink accepts a batch and answers later: [`Sink::submit`] returns a [`Completion`], and the engine keeps several
//! in flight (the sink's [`Sink::window`]). The engine keeps the batch and its guards; on [`Submitted::Retry`] it waits
//! for the completions behind, then submits them all again in order. So a sink whose window is above one must itself
//! refuse a batch when the one before it did not get through: by a guard in the store, by the order of one connection,
//! or by an idempotent producer.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::batch::Batch;
use crate::position::{Cursor, Partition};
use crate::record::Reason;
use crate::stage::StageError;

/// The answer to a submitted batch, some time later.
pub type Completion = BoxFuture<'static, Submitted>;

/// What became of a submitted batch.
#[derive(Debug, Clone)]
pub enum Submitted {
    /// All of it is durable, or was there already.
    Delivered,
    /// Some records are at fault.
    Rejected {
        /// Index in the batch, and why.
        records: Vec<Rejection>,
        /// Whether the other records were applied. An atomic sink applies none: the batch is submitted again without
        /// those that were given up.
        others_applied: bool,
    },
    /// The sink cannot say which record is at fault. The engine finds it by bisection.
    RejectedSomewhere {
        /// For metrics and filters.
        reason: Reason,
        /// For a person.
        detail: String,
    },
    /// Not now: submit it again.
    Retry {
        /// For metrics.
        reason: Reason,
        /// For a person.
        detail: String,
        /// Wait at least this long.
        after: Option<Duration>,
    },
    /// The store is behind what came before this batch (it was rolled back): the source has to read again from where
    /// the store stands.
    Gap {
        /// For a person.
        detail: String,
    },
    /// The sink is unusable: rebuild it, then submit again what is in flight.
    Fatal(String),
}

/// A record that a sink refused.
#[derive(Debug, Clone)]
pub struct Rejection {
    /// Its index in the batch.
    pub index: usize,
    /// For metrics and filters.
    pub reason: Reason,
    /// For a person.
    pub detail: String,
    /// Trying again cannot help.
    pub permanent: bool,
}

/// A stage that writes to the outside.
pub trait Sink: Send + 'static {
    /// How many batches may be in flight.
    fn window(&self) -> usize {
        1
    }

    /// Accepts a batch. A record with `dead` set is already in the dead letters: its position counts, nothing else.
    fn submit(&mut self, batch: Arc<Batch>) -> impl Future<Output = Completion> + Send;

    /// How far this sink's store has come in a partition. `None`: it keeps no positions. An empty cursor: it keeps
    /// them and has none.
    fn resume(&mut self, partition: Partition) -> impl Future<Output = Result<Option<Cursor>, StageError>> + Send {
        let _ = partition;
        async { Ok(None) }
    }

    /// Nothing more will come: flush and let go of the connection.
    fn close(&mut self) -> impl Future<Output = ()> + Send {
        async {}
    }
}
