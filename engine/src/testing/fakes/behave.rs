//! Components with one behaviour each.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Notify;

use crate::batch::{Batch, Previous};
use crate::position::{Cursor, Partition};
use crate::record::{Reason, Record};
use crate::sink::{Completion, Rejection, Sink, Submitted};
use crate::source::{Acker, Source, SourceBatch, SourceError, SourceEvent, SourceReader};
use crate::stage::StageError;
use crate::testing::number_of;

/// What a [`FakeSink`] wrote, in order, and in which batches.
#[derive(Clone, Default)]
pub struct Collected(Arc<Mutex<Vec<Vec<Record>>>>);

/// A new, empty collection.
pub fn collector() -> Collected {
    Collected::default()
}

impl Collected {
    fn lock(&self) -> MutexGuard<'_, Vec<Vec<Record>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every record, in order.
    pub fn records(&self) -> Vec<Record> {
        self.lock().concat()
    }

    /// The numbers of every record, in order.
    pub fn numbers(&self) -> Vec<u64> {
        self.records().iter().map(number_of).collect()
    }

    /// The sizes of the batches.
    pub fn batches(&self) -> Vec<usize> {
        self.lock().iter().map(Vec::len).collect()
    }

    /// How many records.
    pub fn len(&self) -> usize {
        self.lock().iter().map(Vec::len).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keeps a batch.
    pub fn push(&self, records: Vec<Record>) {
        self.lock().push(records);
    }
}

/// What a sink does with a batch.
#[derive(Clone, Debug)]
pub enum SinkStep {
    /// Writes it, after this long.
    Write(Duration),
    /// Never answers.
    Hang,
    /// Panics instead of taking it.
    Panic,
    /// Takes it and panics instead of answering.
    PanicLater,
    /// Answers so without writing.
    Answer(Submitted),
}

type Decide = Arc<dyn Fn(&Batch) -> SinkStep + Send + Sync>;

/// A sink that does what a function says, batch by batch.
pub struct FakeSink {
    decide: Decide,
    window: usize,
    written: Collected,
    positions: Option<Cursor>,
}

impl FakeSink {
    /// A sink with a window that writes to `written` when `decide` says so.
    pub fn new(
        written: &Collected,
        window: usize,
        decide: impl Fn(&Batch) -> SinkStep + Send + Sync + 'static,
    ) -> Self {
        FakeSink { decide: Arc::new(decide), window, written: written.clone(), positions: None }
    }

    /// A sink that writes everything at once.
    pub fn writes(written: &Collected) -> Self {
        FakeSink::new(written, 1, |_| SinkStep::Write(Duration::ZERO))
    }

    /// Claims to have come so far in every partition.
    pub fn at(mut self, cursor: Cursor) -> Self {
        self.positions = Some(cursor);
        self
    }

    /// The rejection of the records that `bad` picks, if there are any.
    pub fn reject(batch: &Batch, others_applied: bool, bad: impl Fn(&Record) -> bool) -> Option<Submitted> {
        let reject =
            |(index, _)| Rejection { index, reason: Reason("bad"), detail: "injected".to_owned(), permanent: false };
        let bad = |(_, r): &(usize, &Record)| r.dead.is_none() && bad(r);
        let records: Vec<_> = batch.records.iter().enumerate().filter(bad).map(reject).collect();
        (!records.is_empty()).then_some(Submitted::Rejected { records, others_applied })
    }
}

impl Sink for FakeSink {
    fn window(&self) -> usize {
        self.window
    }

    async fn submit(&mut self, batch: Arc<Batch>) -> Completion {
        let step = (self.decide)(&batch);
        assert!(!matches!(step, SinkStep::Panic), "injected: on submit");
        let written = self.written.clone();
        async move {
            match step {
                SinkStep::Write(takes) => {
                    tokio::time::sleep(takes).await;
                    written.push(batch.records.clone());
                    Submitted::Delivered
                }
                SinkStep::Hang | SinkStep::Panic => std::future::pending().await,
                SinkStep::PanicLater => panic!("injected: on completion"),
                SinkStep::Answer(answer) => answer,
            }
        }
        .boxed()
    }

    async fn resume(&mut self, _: Partition) -> Result<Option<Cursor>, StageError> {
        Ok(self.positions.clone())
    }
}

/// What a [`FakeSource`] gives out and hears.
#[derive(Clone, Default)]
pub struct FakeSource(Arc<Feed>);

#[derive(Default)]
struct Feed {
    inner: Mutex<Fed>,
    more: Notify,
}

#[derive(Default)]
struct Fed {
    waiting: VecDeque<(Partition, Vec<Record>)>,
    /// Given out and not acknowledged, in order.
    open: VecDeque<(u64, Partition, Vec<Record>)>,
    ended: bool,
    tag: u64,
    read: usize,
    acknowledged: Vec<u64>,
    given_back: usize,
    built: usize,
    closed: bool,
    panics: usize,
    acker_panics: usize,
}

impl FakeSource {
    /// A source with nothing to give out yet.
    pub fn new() -> Self {
        FakeSource::default()
    }

    /// Another batch to give out.
    pub fn feed(&self, partition: Partition, records: Vec<Record>) {
        self.with(|f| f.waiting.push_back((partition, records)));
        self.0.more.notify_one();
    }

    /// There will never be more.
    pub fn end(&self) {
        self.with(|f| f.ended = true);
        self.0.more.notify_one();
    }

    /// Panics the next so many times that it is read.
    pub fn panic(&self, times: usize) {
        self.with(|f| f.panics = times);
        self.0.more.notify_one();
    }

    /// Panics the next so many times that something is acknowledged, which is then not acknowledged.
    pub fn panic_on_acknowledge(&self, times: usize) {
        self.with(|f| f.acker_panics = times);
    }

    /// Builds the source: what was not acknowledged before is given out again, as a broker does.
    pub fn build(&self) -> Self {
        self.with(|f| {
            f.built += 1;
            for (_, partition, records) in std::mem::take(&mut f.open).into_iter().rev() {
                f.waiting.push_front((partition, records));
            }
        });
        self.clone()
    }

    /// How many records were given out, repetitions included.
    pub fn read(&self) -> usize {
        self.with(|f| f.read)
    }

    /// How many batches were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.with(|f| f.acknowledged.len())
    }

    /// How many batches were given out and have not been acknowledged.
    pub fn unacknowledged(&self) -> usize {
        self.with(|f| f.open.len())
    }

    /// How many batches were given back.
    pub fn given_back(&self) -> usize {
        self.with(|f| f.given_back)
    }

    /// How often it was built.
    pub fn built(&self) -> usize {
        self.with(|f| f.built)
    }

    /// Whether it was closed in order.
    pub fn is_closed(&self) -> bool {
        self.with(|f| f.closed)
    }

    fn with<T>(&self, f: impl FnOnce(&mut Fed) -> T) -> T {
        f(&mut self.0.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether there was one left, which it takes.
fn count_down(left: &mut usize) -> bool {
    let before = *left;
    *left = before.saturating_sub(1);
    before > 0
}

impl Source for FakeSource {
    type Reader = FakeSource;
    type Acker = FakeSource;

    fn split(self) -> (FakeSource, FakeSource) {
        (self.clone(), self)
    }
}

impl SourceReader for FakeSource {
    async fn next(&mut self, _: usize) -> Result<SourceEvent, SourceError> {
        loop {
            assert!(!self.with(|f| count_down(&mut f.panics)), "injected: the source panics");
            let next = self.with(|f| {
                let (partition, records) = f.waiting.pop_front()?;
                f.tag += 1;
                f.read += records.len();
                f.open.push_back((f.tag, partition, records.clone()));
                Some((partition, records, f.tag))
            });
            if let Some((partition, records, tag)) = next {
                let (rejected, previous) = (Vec::new(), Previous::new());
                return Ok(SourceEvent::Batch(SourceBatch { partition, records, rejected, previous, tag }));
            }
            if self.with(|f| f.ended) {
                return Ok(SourceEvent::End);
            }
            self.0.more.notified().await;
        }
    }
}

impl Acker for FakeSource {
    async fn acknowledge(&mut self, batches: Vec<(Partition, u64)>) -> Result<(), SourceError> {
        assert!(!self.with(|f| count_down(&mut f.acker_panics)), "injected: the acker panics");
        self.with(|f| {
            for (_, tag) in batches {
                f.open.retain(|(t, ..)| *t != tag);
                f.acknowledged.push(tag);
            }
        });
        Ok(())
    }

    async fn give_back(&mut self, _: Partition, _: u64) -> Result<(), SourceError> {
        self.with(|f| f.given_back += 1);
        Err(SourceError::Unavailable("connecting again for what was let go of".to_owned()))
    }

    async fn close(&mut self) -> Result<(), SourceError> {
        self.with(|f| f.closed = true);
        Ok(())
    }
}
