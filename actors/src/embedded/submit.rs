//! Batches go to the embedded log: in order, each once, and answered when they are durable.
//!
//! Several batches are in flight. One that could not be written must not be overtaken by those behind it, so each has a
//! number, and within the write it is refused unless the one before it is there. A sink that is rebuilt is given again
//! whatever it had not answered; what of that was written after all is known from its *life*, which outlives it, and is
//! left out.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use telemill_engine::batch::Batch;
use telemill_engine::clock::{Clock, Timestamp};
use telemill_engine::position::Partition;
use telemill_engine::record::{EventId, Kind, Reason, Record};
use telemill_engine::sink::{Completion, Rejection, Submitted};

use super::disk::{DiskError, Tx};
use super::log::frame::{self, FrameHeaders};
use super::log::{Append, Appender, Log, LogError, Topic};
use crate::log::headers::HeaderWriter;
use crate::log::mark::{Alive, MARK_VERSION, Mark};
use crate::log::murmur2::partition_of;

/// How many batches may be in flight.
pub(super) const WINDOW: usize = 8;
/// How long to wait before a full or failed disk is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// How a record is to stand in the log.
pub(super) enum Written<'a> {
    /// As a record of the topic at this index.
    Record { topic: usize, key: Option<&'a [u8]>, value: &'a [u8], headers: FrameHeaders },
    /// As a mark, in every partition of the marks' topic.
    Mark(Alive),
    /// Not at all.
    Nothing,
    /// It cannot.
    Unfit(Reason, String),
}

/// Says how records stand in the log.
pub(super) trait Form: Send {
    /// How this one does.
    fn write<'a>(&'a mut self, record: &'a Record) -> Written<'a>;
}

/// What one life of a sink leaves to the next; kept with its checked form.
#[derive(Default)]
pub(super) struct Lives(Mutex<Option<Life>>);

struct Life {
    log: Arc<Log>,
    lane: Arc<Lane>,
}

/// A record, or a mark, by the index of its topic.
type Known = (usize, EventId);
const MARKS: usize = usize::MAX;

impl Lives {
    /// Ends the last life. What of it was written, and not heard of, and the last offsets that it delivered.
    async fn last(&self) -> Result<(HashMap<Known, usize>, Passed), LogError> {
        let life = lock(&self.0).take();
        let Some(Life { log, lane }) = life else { return Ok(Default::default()) };
        lane.state().closed = true;
        // Behind everything that it may still have in the queue.
        if let Err(error) = log.disk().write(|_| Ok::<_, LogError>(())).await {
            *lock(&self.0) = Some(Life { log, lane });
            return Err(error);
        }
        let mut state = lane.state();
        let mut unheard = HashMap::new();
        for known in std::mem::take(&mut state.unheard).into_values().flatten() {
            *unheard.entry(known).or_default() += 1;
        }
        Ok((unheard, state.durable_passed.clone()))
    }

    fn begin(&self, log: &Arc<Log>, lane: &Arc<Lane>) {
        *lock(&self.0) = Some(Life { log: log.clone(), lane: lane.clone() });
    }
}

/// The last offset delivered, by topic and partition.
type Passed = HashMap<(usize, Partition), i64>;

/// The sequence of batches of one life.
#[derive(Default)]
struct Lane {
    state: Mutex<LaneState>,
    outstanding: AtomicU64,
}

#[derive(Default)]
struct LaneState {
    /// The last batch that a group has taken, and the last that is durable.
    taken: u64,
    durable: u64,
    passed: Passed,
    durable_passed: Passed,
    /// What is durable and was not heard of.
    unheard: BTreeMap<u64, Vec<Known>>,
    closed: bool,
}

impl Lane {
    fn state(&self) -> MutexGuard<'_, LaneState> {
        lock(&self.state)
    }

    fn settle(&self, number: u64, known: Vec<Known>, durable: bool) {
        let mut state = self.state();
        if durable {
            state.durable = number;
            state.durable_passed = state.passed.clone();
            state.unheard.insert(number, known);
        } else {
            state.taken = state.durable;
            state.passed = state.durable_passed.clone();
        }
    }
}

enum Item {
    Record { topic: usize, record: Append },
    Mark { id: EventId, alive: Alive },
}

/// See the module.
pub(super) struct Submitter<F> {
    log: Arc<Log>,
    topics: Vec<Arc<Topic>>,
    marks: Option<Arc<Topic>>,
    form: F,
    clock: Clock,
    lane: Arc<Lane>,
    /// The number of the last batch.
    last: u64,
    /// What the last life has written, and for how many batches more it is looked up: what the engine submits again
    /// comes first, and a record may well be written again later, on purpose.
    earlier: HashMap<Known, usize>,
    looked_up: usize,
    /// Where a record without a key goes next.
    keyless: i32,
}

impl<F: Form> Submitter<F> {
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
        }
        lives.begin(log, &lane);
        Ok(Submitter {
            log: log.clone(),
            topics,
            marks,
            form,
            clock,
            lane,
            last: 0,
            earlier,
            looked_up: WINDOW,
            keyless: 0,
        })
    }

    /// Puts a batch into the queue of the disk; waits for room there.
    pub(super) async fn submit(&mut self, batch: Arc<Batch>) -> Completion {
        let now = self.clock.now();
        match self.looked_up.checked_sub(1) {
            Some(left) => self.looked_up = left,
            None => self.earlier.clear(),
        }
        let (mut items, mut known, mut rejected) = (Vec::with_capacity(batch.len()), Vec::new(), Vec::new());
        for (index, record) in batch.records.iter().enumerate() {
            match self.item(record, now) {
                Ok(Some(item)) => {
                    known.push(item.known(record.id));
                    items.push(item);
                }
                Ok(None) => {}
                Err((reason, detail)) => rejected.push(Rejection { index, reason, detail, permanent: true }),
            }
        }
        // The engine submits again only when everything is answered: then the sequence begins anew.
        if self.lane.outstanding.load(Ordering::Acquire) == 0 {
            let mut state = self.lane.state();
            (state.taken, state.durable) = (self.last, self.last);
        }
        self.last += 1;
        let number = self.last;
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
            lane.state().unheard.remove(&number);
            match written {
                Ok(()) if rejected.is_empty() => Submitted::Delivered,
                Ok(()) => Submitted::Rejected { records: rejected, others_applied: true },
                Err(error) => not_written(&error),
            }
        }
        .boxed()
    }

    /// What of a record goes to the log; none of one that is there already.
    fn item(&mut self, record: &Record, now: Timestamp) -> Result<Option<Item>, (Reason, String)> {
        let item = match self.form.write(record) {
            Written::Nothing => return Ok(None),
            Written::Unfit(reason, detail) => return Err((reason, detail)),
            Written::Mark(_) if self.marks.is_none() => return Ok(None),
            Written::Mark(alive) => Item::Mark { id: record.id, alive },
            Written::Record { topic: at, key, value, headers } => {
                let topic = self.topics[at].clone();
                let partition = match key {
                    Some(key) => partition_of(key, topic.partitions()),
                    None => {
                        self.keyless = (self.keyless + 1) % topic.partitions();
                        self.keyless
                    }
                };
                let frame = frame::write(now, key, &headers, value);
                if frame.len() as u64 > topic.max_message() {
                    let (bytes, most) = (frame.len(), topic.max_message());
                    let detail = format!("{bytes} bytes, but topic `{}` takes {most} at most", topic.name);
                    return Err((Reason::TOO_LARGE, detail));
                }
                Item::Record { topic: at, record: Append { topic, partition, frame } }
            }
        };
        match self.earlier.get_mut(&item.known(record.id)) {
            Some(left @ 1..) => {
                *left -= 1;
                Ok(None)
            }
            _ => Ok(Some(item)),
        }
    }
}

impl Item {
    fn known(&self, id: EventId) -> Known {
        match self {
            Item::Record { topic, .. } => (*topic, id),
            Item::Mark { .. } => (MARKS, id),
        }
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
            Item::Record { topic, record } => {
                let partition = record.partition;
                let offset = appender.append(record)?;
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
        let value: Bytes = serde_json::to_vec(&mark).expect("a mark is plain data").into();
        Append { topic: marks.clone(), partition, frame: frame::write(now, None, &headers, &value) }
    };
    (0..marks.partitions()).map(one).collect()
}

fn not_written(error: &LogError) -> Submitted {
    let (reason, after) = match error {
        LogError::Disk(DiskError::Broken(_)) | LogError::Impossible(_) => return Submitted::Fatal(error.to_string()),
        LogError::Disk(DiskError::Closed | DiskError::Panicked) => return Submitted::Fatal(error.to_string()),
        LogError::Disk(DiskError::Full { .. }) => (Reason("disk_full"), Some(AGAIN)),
        LogError::Disk(DiskError::Io(_) | DiskError::InUse(_)) => (Reason("disk_failed"), Some(AGAIN)),
        LogError::Behind => (Reason("behind"), None),
    };
    Submitted::Retry { reason, detail: error.to_string(), after }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
