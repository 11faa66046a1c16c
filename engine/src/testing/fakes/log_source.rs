//! A source over the log: assignments, seeking, marks merged with the records, commits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::{Notify, oneshot};

use crate::batch::Previous;
use crate::position::{Partition, TopicId};
use crate::record::Record;
use crate::source::{Acker, ResumeAt, Source, SourceBatch, SourceError, SourceEvent, SourceReader};
use crate::testing::world::World;

/// The group under which it commits.
pub(crate) const GROUP: &str = "g";

/// Reads `data` and, where there are any, `marks`.
pub struct SimSource {
    world: Arc<World>,
    flow: Arc<LogFlow>,
}

/// What the two halves of a log source share.
pub struct LogFlow {
    topics: [(&'static str, TopicId); 2],
    /// Told when a partition has to be assigned anew.
    wake: Notify,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Where each partition that may be read is read next, topic by topic.
    reading: BTreeMap<Partition, Reading>,
    to_assign: BTreeSet<Partition>,
    /// What is out: the tag's partition and the next offsets behind it.
    open: BTreeMap<u64, (Partition, [i64; 2])>,
}

#[derive(Clone, Default)]
struct Reading {
    next: [i64; 2],
    previous: Previous,
}

impl SimSource {
    /// A source of all partitions.
    pub fn new(world: &Arc<World>) -> Self {
        let topics = ["data", "marks"].map(|name| (name, world.log.id(name)));
        let inner = Inner { to_assign: (0..world.log.partitions()).collect(), ..Inner::default() };
        let flow = Arc::new(LogFlow { topics, wake: Notify::new(), inner: Mutex::new(inner) });
        SimSource { world: world.clone(), flow }
    }

    /// What its halves share.
    pub fn flow(&self) -> Arc<LogFlow> {
        self.flow.clone()
    }
}

impl LogFlow {
    /// How many batches are out.
    pub fn open(&self) -> usize {
        self.lock().open.len()
    }

    /// The next data offset to read of a partition.
    pub fn next_offset(&self, partition: Partition) -> Option<i64> {
        self.lock().reading.get(&partition).map(|r| r.next[0])
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for SimSource {
    type Reader = Reader;
    type Acker = Committer;

    fn split(self) -> (Reader, Committer) {
        let SimSource { world, flow } = self;
        let committer = Committer { world: world.clone(), flow: flow.clone() };
        (Reader { world, flow, asked: None, revoking: None, tag: 0, turn: 0 }, committer)
    }
}

/// The reading half.
pub struct Reader {
    world: Arc<World>,
    flow: Arc<LogFlow>,
    asked: Option<oneshot::Receiver<Vec<(Partition, ResumeAt)>>>,
    revoking: Option<(Partition, oneshot::Receiver<()>)>,
    tag: u64,
    turn: i32,
}

impl Reader {
    fn begin(&mut self, answers: Vec<(Partition, ResumeAt)>) {
        for (partition, at) in answers {
            let next = self.flow.topics.map(|(_, id)| {
                let committed = self.world.log.committed(GROUP, id, partition).unwrap_or(0);
                let next = match &at {
                    ResumeAt::Committed => committed,
                    ResumeAt::Behind(cursor) => committed.min(cursor.get(id).map_or(0, |offset| offset + 1)),
                };
                // As the real one does: what is read again is not done until it is committed again.
                self.world.log.commit(GROUP, id, partition, next);
                next
            });
            self.world.trouble.note(|| format!("source begins {partition} at {next:?} by {at:?}"));
            self.flow.lock().reading.insert(partition, Reading { next, ..Reading::default() });
        }
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
        let due: Vec<Partition> = std::mem::take(&mut self.flow.lock().to_assign).into_iter().collect();
        if due.is_empty() {
            return None;
        }
        let (reply, asked) = oneshot::channel();
        self.asked = Some(asked);
        Some(SourceEvent::Assigned { partitions: due, reply })
    }

    fn revoked(&mut self, partition: Partition) {
        let mut inner = self.flow.lock();
        let left = inner.open.values().filter(|(p, _)| *p == partition).count();
        if left > 0 {
            self.world.trouble.violation(format!("{left} batches of {partition} were out when it was given up"));
        }
        inner.to_assign.insert(partition);
    }
}

/// The data offset that a mark stands behind.
fn delivered(mark: &Record) -> i64 {
    let body: Value = serde_json::from_slice(&mark.payload).unwrap_or_default();
    body["delivered"]["data"].as_i64().unwrap_or(-1)
}

impl SourceReader for Reader {
    async fn next(&mut self, max_records: usize) -> Result<SourceEvent, SourceError> {
        loop {
            if let Some(asked) = &mut self.asked {
                let Ok(answers) = asked.await else { return std::future::pending().await };
                self.asked = None;
                self.begin(answers);
            }
            if let Some(event) = self.say() {
                return Ok(event);
            }
            let world = self.world.clone();
            let flow = self.flow.clone();
            let mut appended = std::pin::pin!(world.log.appended.notified());
            appended.as_mut().enable();
            for _ in 0..world.log.partitions() {
                self.turn = (self.turn + 1) % world.log.partitions();
                if self.revoking.as_ref().is_some_and(|(p, _)| *p == self.turn) {
                    continue;
                }
                let most = world.trouble.between(1, 6) as usize;
                let Some(batch) = self.read(self.turn, max_records.min(most)) else { continue };
                // What is read and then lost with the source is still to be read: nothing was acknowledged.
                world.trouble.maybe_panic("source");
                if world.trouble.fails("source") {
                    return Err(SourceError::Unavailable("injected: the log is away".to_owned()));
                }
                if self.revoking.is_none() && world.trouble.fails("rebalance") {
                    // What was just read never goes out: the partition is given up before.
                    let (done, revoked) = oneshot::channel();
                    self.revoking = Some((self.turn, revoked));
                    self.flow.lock().open.remove(&self.tag);
                    self.flow.lock().reading.remove(&self.turn);
                    return Ok(SourceEvent::Revoked { partitions: vec![self.turn], done });
                }
                return Ok(SourceEvent::Batch(batch));
            }
            match &mut self.revoking {
                Some((partition, revoked)) => {
                    let partition = *partition;
                    tokio::select! {
                        biased;
                        _ = revoked => {
                            self.revoking = None;
                            self.revoked(partition);
                        }
                        () = flow.wake.notified() => {}
                        () = appended => {}
                    }
                }
                None => {
                    tokio::select! {
                        biased;
                        () = flow.wake.notified() => {}
                        () = appended => {}
                    }
                }
            }
        }
    }
}

/// The acknowledging half.
pub struct Committer {
    world: Arc<World>,
    flow: Arc<LogFlow>,
}

impl Acker for Committer {
    async fn acknowledge(&mut self, batches: Vec<(Partition, u64)>) -> Result<(), SourceError> {
        tokio::time::sleep(self.world.trouble.delay()).await;
        self.world.trouble.maybe_panic("committer");
        if self.world.trouble.fails("committer") {
            return Err(SourceError::Unavailable("injected: the log is away".to_owned()));
        }
        for (partition, tag) in batches {
            let open = self.flow.lock().open.remove(&tag);
            let Some((_, next)) = open else {
                self.world
                    .trouble
                    .violation(format!("batch {tag} of {partition} was acknowledged twice, or after it was let go of"));
                continue;
            };
            for (topic, (_, id)) in self.flow.topics.iter().enumerate() {
                if next[topic] > 0 {
                    self.world.log.commit(GROUP, *id, partition, next[topic]);
                }
            }
            self.world.trouble.note(|| format!("source commits {partition} at {next:?}"));
        }
        Ok(())
    }

    async fn give_back(&mut self, partition: Partition, tag: u64) -> Result<(), SourceError> {
        self.world.trouble.note(|| format!("source has {tag} of {partition} back"));
        let mut inner = self.flow.lock();
        inner.open.retain(|_, (p, _)| *p != partition);
        // A partition that is not read is about to be assigned anyway.
        if inner.reading.remove(&partition).is_some() {
            inner.to_assign.insert(partition);
        }
        drop(inner);
        self.flow.wake.notify_one();
        Ok(())
    }

    async fn close(&mut self) -> Result<(), SourceError> {
        let open = self.flow.open();
        if open > 0 {
            self.world.trouble.note(|| format!("source closes with {open} batches out"));
        }
        Ok(())
    }
}
