//! A source over the log: assignments that come and go, seeking, marks merged with the records.
//!
//! A partition is given up in three ways: drained, as far as there is time for it, or lost with everything that is out of
//! it. It comes back after a while.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use crate::position::{Epoch, Partition};
use crate::record::Record;
use crate::source::{ResumeAt, Source, SourceBatch, SourceError, SourceEvent, SourceReader};
use crate::testing::world::World;

use super::committer::{Committer, replaced};
use super::log_flow::{LogFlow, Reading};

/// The group under which it commits.
pub(crate) const GROUP: &str = "g";

/// Longer than any run.
const NEVER: Duration = Duration::from_secs(1 << 20);

/// Reads `data` and, where there are any, `marks`.
pub struct SimSource {
    world: Arc<World>,
    flow: Arc<LogFlow>,
}

impl SimSource {
    /// A source of all partitions, for the only owner that there ever is.
    pub fn new(world: &Arc<World>) -> Self {
        SimSource::of(world, Epoch(0))
    }

    /// A source of all partitions for the owner of an epoch.
    pub fn of(world: &Arc<World>, epoch: Epoch) -> Self {
        SimSource { world: world.clone(), flow: Arc::new(LogFlow::new(world, epoch)) }
    }
}

impl Source for SimSource {
    type Reader = Reader;
    type Acker = Committer;

    fn split(self) -> (Reader, Committer) {
        let SimSource { world, flow } = self;
        let committer = Committer { world: world.clone(), flow: flow.clone() };
        let (answers, returning) = Default::default();
        (
            Reader { world, flow, is_member: false, asked: None, answers, leaving: None, returning, tag: 0, turn: 0 },
            committer,
        )
    }
}

/// The reading half.
pub struct Reader {
    world: Arc<World>,
    flow: Arc<LogFlow>,
    is_member: bool,
    asked: Option<oneshot::Receiver<Vec<(Partition, ResumeAt)>>>,
    /// What was answered, not yet acted on.
    answers: Vec<(Partition, ResumeAt)>,
    leaving: Option<Leaving>,
    /// Partitions that were given up, and when they come back.
    returning: Vec<(Instant, Partition)>,
    tag: u64,
    turn: i32,
}

/// A partition that is being given up.
struct Leaving {
    partition: Partition,
    drained: oneshot::Receiver<()>,
    /// It is gone by then, drained or not.
    until: Instant,
}

impl Reader {
    fn begin(&mut self) -> Result<(), SourceError> {
        for (partition, at) in std::mem::take(&mut self.answers) {
            let mut reading = Reading::default();
            for (next, (_, id)) in reading.next.iter_mut().zip(self.flow.topics) {
                let committed = self.world.log.committed(GROUP, id, partition).unwrap_or(0);
                *next = match &at {
                    ResumeAt::Committed => committed,
                    ResumeAt::Behind(cursor) => committed.min(cursor.get(id).map_or(0, |offset| offset + 1)),
                };
                // As the real one does: what is read again is not done until it is committed again.
                self.world.log.commit(GROUP, (id, partition), *next, self.flow.epoch).map_err(replaced)?;
            }
            self.world.trouble.note(|| format!("source begins {partition} at {:?} by {at:?}", reading.next));
            self.flow.lock().reading.insert(partition, reading);
        }
        Ok(())
    }

    fn read(&mut self, partition: Partition, max: usize) -> Option<SourceBatch> {
        let mut reading = self.flow.lock().reading.get(&partition)?.clone();
        let mut records: Vec<Record> = Vec::new();
        let previous = reading.previous.clone();
        while records.len() < max {
            let [data, marks] = [0, 1].map(|t| self.world.log.peek(self.flow.topics[t].0, partition, reading.next[t]));
            let mark_is_next = marks.as_ref().is_some_and(|(_, mark)| reading.next[0] > delivered(mark));
            let (topic, (offset, record)) = match (mark_is_next, data, marks) {
                (true, _, Some(mark)) => (1, mark),
                (_, Some(data), _) => (0, data),
                _ => break,
            };
            reading.next[topic] = offset + 1;
            let id = self.flow.topics[topic].1;
            reading.previous.retain(|(t, ..)| *t != id);
            reading.previous.push((id, offset, 0));
            records.push(record);
        }
        if records.is_empty() {
            return None;
        }
        self.tag += 1;
        let mut inner = self.flow.lock();
        inner.open.insert(self.tag, (partition, reading.next));
        inner.reading.insert(partition, reading);
        Some(SourceBatch { partition, records, rejected: Vec::new(), previous, tag: self.tag })
    }

    /// What has to be said before anything is read.
    fn say(&mut self) -> Option<SourceEvent> {
        let now = Instant::now();
        let mut due = std::mem::take(&mut self.flow.lock().to_assign);
        due.extend(self.returning.extract_if(.., |(at, _)| *at <= now).map(|(_, partition)| partition));
        if due.is_empty() {
            return None;
        }
        let (reply, asked) = oneshot::channel();
        self.asked = Some(asked);
        Some(SourceEvent::Assigned { partitions: due.into_iter().collect(), reply })
    }

    /// The group gives a partition to somebody else, just after a batch of it was read, which never goes out.
    fn give_up(&mut self, partition: Partition, batch: u64) -> Option<SourceEvent> {
        let trouble = &self.world.trouble;
        self.flow.lock().open.remove(&batch);
        let patience = match trouble.between(0, 3) {
            0 => {
                self.lost(partition);
                return None;
            }
            1 => Duration::from_millis(trouble.between(0, 500)),
            _ => NEVER,
        };
        trouble.note(|| format!("source gives {partition} up within {patience:?}"));
        self.flow.lock().reading.remove(&partition);
        let (done, drained) = oneshot::channel();
        self.leaving = Some(Leaving { partition, drained, until: Instant::now() + patience });
        Some(SourceEvent::Revoked { partitions: vec![partition], done })
    }

    fn lost(&mut self, partition: Partition) {
        self.world.trouble.note(|| format!("source has lost {partition}"));
        self.flow.lose(partition);
        self.gone(partition);
    }

    fn drained(&mut self, partition: Partition) {
        let out = self.flow.lock().open.values().filter(|(p, _)| *p == partition).count();
        if out > 0 {
            self.world.trouble.violation(format!("{out} batches of {partition} were out when it was given up"));
        }
        self.gone(partition);
    }

    fn gone(&mut self, partition: Partition) {
        let away = Duration::from_millis(self.world.trouble.between(0, 1500));
        self.returning.push((Instant::now() + away, partition));
    }

    /// Waits until there may be something to do.
    async fn wait(&mut self, appended: impl Future<Output = ()>) {
        let far = Instant::now() + NEVER;
        let back = self.returning.iter().map(|(at, _)| *at).min().unwrap_or(far);
        let Some(Leaving { partition, drained, until }) = &mut self.leaving else {
            tokio::select! {
                biased;
                () = self.flow.wake.notified() => {}
                () = appended => {}
                () = sleep_until(back) => {}
            }
            return;
        };
        let (partition, until) = (*partition, *until);
        let is_drained = tokio::select! {
            biased;
            _ = drained => Some(true),
            () = sleep_until(until) => Some(false),
            () = self.flow.wake.notified() => None,
            () = appended => None,
            () = sleep_until(back) => None,
        };
        if let Some(is_drained) = is_drained {
            self.leaving = None;
            match is_drained {
                true => self.drained(partition),
                false => self.lost(partition),
            }
        }
    }
}

/// The data offset that a mark stands behind.
fn delivered(mark: &Record) -> i64 {
    let body: Value = serde_json::from_slice(&mark.payload).unwrap_or_default();
    body["delivered"]["data"].as_i64().unwrap_or(-1)
}

impl SourceReader for Reader {
    fn partitions(&self) -> u32 {
        self.world.log.partitions() as u32
    }

    async fn next(&mut self, max_records: usize) -> Result<SourceEvent, SourceError> {
        let (world, flow) = (self.world.clone(), self.flow.clone());
        if !self.is_member {
            world.trouble.step().await;
            world.log.take_over(GROUP, flow.epoch).map_err(replaced)?;
            self.is_member = true;
        }
        'again: loop {
            if let Some(asked) = &mut self.asked {
                let Ok(answers) = asked.await else { return std::future::pending().await };
                (self.asked, self.answers) = (None, answers);
            }
            if !self.answers.is_empty() {
                world.trouble.step().await;
                self.begin()?;
            }
            if let Some(event) = self.say() {
                return Ok(event);
            }
            let mut appended = std::pin::pin!(world.log.appended.notified());
            appended.as_mut().enable();
            for _ in 0..world.log.partitions() {
                self.turn = (self.turn + 1) % world.log.partitions();
                let most = world.trouble.between(1, 6) as usize;
                let Some(batch) = self.read(self.turn, max_records.min(most)) else { continue };
                // What is read and then lost with the source is still to be read: nothing was acknowledged.
                world.trouble.maybe_panic("source");
                if world.trouble.fails("source") {
                    return Err(SourceError::Unavailable("injected: the log is away".to_owned()));
                }
                if self.leaving.is_none() && world.trouble.fails("rebalance") {
                    match self.give_up(self.turn, batch.tag) {
                        Some(event) => return Ok(event),
                        None => continue 'again,
                    }
                }
                return Ok(SourceEvent::Batch(batch));
            }
            self.wait(appended).await;
        }
    }
}
