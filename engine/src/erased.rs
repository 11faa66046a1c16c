//! Object-safe mirrors of the component traits, so that a running topology can hold any of them.
//!
//! Components implement the plain traits with `async fn`; the blanket implementations here box their futures once a
//! batch, never once a record.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;

use crate::batch::Batch;
use crate::position::{Cursor, Partition};
use crate::record::Record;
use crate::sink::{Completion, Sink};
use crate::source::{Acker, Source, SourceError, SourceEvent, SourceReader};
use crate::stage::{Outlets, Processor, StageError};

/// Any [`Sink`].
#[async_trait]
pub trait DynSink: Send {
    /// [`Sink::window`].
    fn window(&self) -> usize;
    /// [`Sink::submit`].
    async fn submit(&mut self, batch: Arc<Batch>) -> Completion;
    /// [`Sink::resume`].
    async fn resume(&mut self, partition: Partition) -> Result<Option<Cursor>, StageError>;
    /// [`Sink::close`].
    async fn close(&mut self);
}

#[async_trait]
impl<S: Sink> DynSink for S {
    fn window(&self) -> usize {
        Sink::window(self)
    }
    async fn submit(&mut self, batch: Arc<Batch>) -> Completion {
        Sink::submit(self, batch).await
    }
    async fn resume(&mut self, partition: Partition) -> Result<Option<Cursor>, StageError> {
        Sink::resume(self, partition).await
    }
    async fn close(&mut self) {
        Sink::close(self).await
    }
}

/// How far a processor has come in the batch in hand.
#[derive(Debug, Default)]
pub struct Progress {
    /// Records that are done with, from the first on.
    pub done: usize,
    /// Of these, the ones for which nothing was emitted.
    pub absorbed: usize,
    /// Of these, the ones given to the dead letters.
    pub dead: usize,
    /// The record at which the last panic happened.
    pub failed_at: usize,
    /// What the last panic said, until it was dealt with.
    pub panicked: Option<String>,
}

/// Any [`Processor`], a run of records at a time.
#[async_trait]
pub trait DynProcessor: Send {
    /// Handles the records that are not done, counting each that got through, so that a panic tells where it happened.
    /// Stops at the first that did not get through.
    async fn run(&mut self, records: &[Record], progress: &mut Progress, out: &mut Outlets) -> Result<(), StageError>;
}

#[async_trait]
impl<P: Processor> DynProcessor for P {
    async fn run(&mut self, records: &[Record], progress: &mut Progress, out: &mut Outlets) -> Result<(), StageError> {
        while let Some(record) = records.get(progress.done) {
            out.set_savepoint();
            self.handle(record, out).await?;
            progress.absorbed += usize::from(out.since_savepoint() == 0);
            progress.done += 1;
        }
        out.set_savepoint();
        Ok(())
    }
}

/// Any [`SourceReader`].
#[async_trait]
pub trait DynReader: Send {
    /// [`SourceReader::next`].
    async fn next(&mut self, max_records: usize) -> Result<SourceEvent, SourceError>;
    /// [`SourceReader::partitions`].
    fn partitions(&self) -> u32;
    /// [`SourceReader::serving`].
    fn serving(&self) -> BoxFuture<'static, ()>;
}

#[async_trait]
impl<R: SourceReader> DynReader for R {
    async fn next(&mut self, max_records: usize) -> Result<SourceEvent, SourceError> {
        SourceReader::next(self, max_records).await
    }
    fn partitions(&self) -> u32 {
        SourceReader::partitions(self)
    }
    fn serving(&self) -> BoxFuture<'static, ()> {
        SourceReader::serving(self)
    }
}

/// Any [`Acker`].
#[async_trait]
pub trait DynAcker: Send {
    /// [`Acker::acknowledge`].
    async fn acknowledge(&mut self, batches: Vec<(Partition, u64)>) -> Result<(), SourceError>;
    /// [`Acker::give_back`].
    async fn give_back(&mut self, partition: Partition, tag: u64) -> Result<(), SourceError>;
    /// [`Acker::close`].
    async fn close(&mut self) -> Result<(), SourceError>;
}

#[async_trait]
impl<A: Acker> DynAcker for A {
    async fn acknowledge(&mut self, batches: Vec<(Partition, u64)>) -> Result<(), SourceError> {
        Acker::acknowledge(self, batches).await
    }
    async fn give_back(&mut self, partition: Partition, tag: u64) -> Result<(), SourceError> {
        Acker::give_back(self, partition, tag).await
    }
    async fn close(&mut self) -> Result<(), SourceError> {
        Acker::close(self).await
    }
}

/// Both halves of any [`Source`].
pub type DynSource = (Box<dyn DynReader>, Box<dyn DynAcker>);

/// Takes a source apart and boxes its halves.
pub fn split<S: Source>(source: S) -> DynSource {
    let (reader, acker) = source.split();
    (Box::new(reader), Box::new(acker))
}
