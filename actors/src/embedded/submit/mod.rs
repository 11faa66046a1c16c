//! Batches go to the embedded log: in order, each once, and answered when they are durable.
//!
//! Several batches are in flight. One that could not be written must not be overtaken by those behind it, so each has a
//! number, and within the write it is refused unless the one before it is there. What a rebuild leaves out is in `lane`.

mod lane;
mod pages;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use telemill_engine::batch::Batch;
use telemill_engine::clock::{Clock, Timestamp};
use telemill_engine::faults;
use telemill_engine::record::{EventId, Kind, Reason, Record};
use telemill_engine::sink::{Completion, Rejection, Submitted};

use super::disk::Tx;
use super::log::frame::{self, FrameHeaders};
use super::log::{Append, Appender, Log, LogError, Page, Topic};
use crate::log::form::{Form, Outgoing, Written};
use crate::log::headers::HeaderWriter;
use crate::log::mark::{Alive, MARK_VERSION, Mark};
use crate::log::murmur2::partition_of;

pub(super) use lane::Lives;
use lane::{Known, Lane, MARKS, Passed};
use pages::{Item, Pages};

/// How many batches may be in flight.
pub(super) const WINDOW: usize = 8;
/// How long to wait before a full or failed disk is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Submitter<F> {
    log: Arc<Log>,
    topics: Vec<Arc<Topic>>,
    marks: Option<Arc<Topic>>,
    form: F,
    clock: Clock,
    lane: Arc<Lane>,
    pages: Pages,
    /// The number of the last batch.
    last: u64,
    /// Where a record without a key goes next.
    keyless: i32,
}

impl<F: Form<FrameHeaders>> Submitter<F> {
    pub(super) async fn new(
        log: &Arc<Log>,
        topics: Vec<Arc<Topic>>,
        marks: Option<Arc<Topic>>,
        form: F,
        clock: Clock,
        lives: &Lives,
    ) -> Result<Self, LogError> {
        let (earlier, passed) = lives.last().await?;
        let lane = Arc::new(Lane::default());
        {
            let mut state = lane.state();
            state.passed = passed.clone();
            state.durable_passed = passed;
            (state.earlier, state.looked_up) = (earlier, WINDOW);
        }
        lives.begin(log, &lane);
        let pages = Pages::new(topics.clone());
        Ok(Submitter { log: log.clone(), topics, marks, form, clock, lane, pages, last: 0, keyless: 0 })
    }

    /// Puts a batch into the queue of the disk; waits for room there.
    pub(super) async fn submit(&mut self, batch: Arc<Batch>) -> Completion {
        faults::point("log.before_append");
        let now = self.clock.now();
        let mut taken = Taken { known: Vec::with_capacity(batch.len()), ..Taken::default() };
        taken.looks_up = !self.lane.state().earlier.is_empty();
        let mut rejected = Vec::new();
        for (index, record) in batch.records.iter().enumerate() {
            if let Err((reason, detail)) = self.take(record, now, &mut taken) {
                rejected.push(Rejection { index, reason, detail, permanent: true });
            }
        }
        let items = self.pages.finish();
        let Taken { known, skipped, .. } = taken;
        // The engine submits again only when everything is answered: then the sequence begins anew.
        if self.lane.outstanding.load(Ordering::Acquire) == 0 {
            let mut state = self.lane.state();
            (state.taken, state.durable) = (self.last, self.last);
        }
        self.last += 1;
        let number = self.last;
        self.lane.state().skipped.insert(number, skipped);
        let (log, lane, topics, marks) = (self.log.clone(), self.lane.clone(), self.topics.clone(), self.marks.clone());
        let write = move |tx: &mut Tx<'_>| append(tx, &log, &lane, number, &topics, marks.as_ref(), items, known, now);
        self.lane.outstanding.fetch_add(1, Ordering::AcqRel);
        let answer = self.log.disk().enqueue(write).await;
        let lane = self.lane.clone();
        async move {
            let written = match answer {
                Ok(answer) => answer.await,
                Err(error) => Err(error.into()),
            };
            lane.outstanding.fetch_sub(1, Ordering::AcqRel);
            lane.state().heard(number, written.is_ok());
            faults::point("log.appended");
            match written {
                Ok(()) if rejected.is_empty() => Submitted::Delivered,
                Ok(()) => Submitted::Rejected { records: rejected, others_applied: true },
                Err(error) => not_written(&error),
            }
        }
        .boxed()
    }

    /// Takes into the batch's pages what of a record goes to the log, if anything, unless a life before has written it.
    fn take(&mut self, record: &Record, now: Timestamp, taken: &mut Taken) -> Result<(), (Reason, String)> {
        match self.form.write(record) {
            Written::Nothing => {}
            Written::Unfit(reason, detail) => return Err((reason, detail)),
            Written::Mark(_) if self.marks.is_none() => {}
            Written::Mark(alive) => {
                if taken.is_new((MARKS, record.id), &self.lane) {
                    self.pages.mark(record.id, alive);
                }
            }
            Written::Record(Outgoing { topic: at, key, value, headers }) => {
                let topic = &self.topics[at];
                let (bytes, most) = (frame::size(key, &headers, value) as u64, topic.max_message());
                if bytes > most {
                    let detail = format!("{bytes} bytes, but topic `{}` takes {most} at most", topic.name);
                    return Err((Reason::TOO_LARGE, detail));
                }
                let partition = match key {
                    Some(key) => partition_of(key, topic.partitions()),
                    None => {
                        self.keyless = (self.keyless + 1) % topic.partitions();
                        self.keyless
                    }
                };
                if taken.is_new((at, record.id), &self.lane) {
                    self.pages.record((at, partition), now, (key, &headers, value));
                }
            }
        }
        Ok(())
    }
}

/// What was taken of a batch.
#[derive(Default)]
struct Taken {
    /// What goes to the log.
    known: Vec<Known>,
    /// What does not, since a life before has written it; and whether there may be such.
    skipped: Vec<Known>,
    looks_up: bool,
}

impl Taken {
    /// Takes a record or a mark; whether it is to be written.
    fn is_new(&mut self, this: Known, lane: &Lane) -> bool {
        let is_new = !(self.looks_up && lane.state().take_earlier(&this));
        if is_new {
            self.known.push(this)
        } else {
            self.skipped.push(this)
        }
        is_new
    }
}

/// Appends a batch within a write, its marks with the offsets of what came before them.
#[expect(clippy::too_many_arguments, reason = "all that a batch needs moves into the write with it")]
fn append(
    tx: &mut Tx<'_>,
    log: &Arc<Log>,
    lane: &Arc<Lane>,
    number: u64,
    topics: &[Arc<Topic>],
    marks: Option<&Arc<Topic>>,
    items: Vec<Item>,
    known: Vec<Known>,
    now: Timestamp,
) -> Result<(), LogError> {
    let mut passed = {
        let state = lane.state();
        if state.closed || state.taken + 1 != number {
            return Err(LogError::Behind);
        }
        state.passed.clone()
    };
    let mut appender = Appender::new(log, tx);
    for item in items {
        match item {
            Item::Page { topic, append } => {
                let partition = append.partition;
                let offset = appender.append(append)?;
                passed.insert((topic, partition), offset);
            }
            Item::Mark { id, alive } => {
                for mark in marks_of(id, alive, topics, marks, &passed, now) {
                    appender.append(mark)?;
                }
            }
        }
    }
    appender.finish();
    let mut state = lane.state();
    (state.taken, state.passed) = (number, passed);
    drop(state);
    let lane = lane.clone();
    tx.on_outcome(move |durable| lane.settle(number, known, durable));
    Ok(())
}

/// A mark, in every partition of its topic.
fn marks_of(
    id: EventId,
    alive: Alive,
    topics: &[Arc<Topic>],
    marks: Option<&Arc<Topic>>,
    passed: &Passed,
    now: Timestamp,
) -> Vec<Append> {
    let Some(marks) = marks else { return Vec::new() };
    let headers: FrameHeaders = HeaderWriter::default().identity(id, Timestamp(alive.time), &Kind::Mark);
    let one = |partition| {
        let delivered = topics
            .iter()
            .enumerate()
            .filter_map(|(at, topic)| Some((topic.name.clone(), *passed.get(&(at, partition))?)));
        let mark = Mark { v: MARK_VERSION, alive, delivered: delivered.collect() };
        let value = serde_json::to_vec(&mark).expect("a mark is plain data");
        let mut page = Page::new(now);
        page.push(None, &headers, &value);
        Append { topic: marks.clone(), partition, page }
    };
    (0..marks.partitions()).map(one).collect()
}

fn not_written(error: &LogError) -> Submitted {
    let (reason, after) = match error {
        LogError::Disk(disk) if !disk.is_final() => (disk.reason(), Some(AGAIN)),
        LogError::Disk(_) | LogError::Impossible(_) => return Submitted::Fatal(error.to_string()),
        LogError::Behind => (Reason("behind"), None),
    };
    Submitted::Retry { reason, detail: error.to_string(), after }
}
