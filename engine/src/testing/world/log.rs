//! A log: topics, partitions, offsets with holes, groups that commit.
//!
//! It also stands for what an idempotent producer knows: a write whose answer was lost is recognised when it comes
//! again. A record that was written and confirmed is written again when it comes again, so that the checker sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::device_id::DeviceId;
use crate::ports::{Journal, PortError};
use crate::position::{Partition, Position, TopicId};
use crate::record::Record;

use super::Trouble;

/// The log of a simulated world.
pub struct SimLog {
    partitions: i32,
    trouble: Arc<Trouble>,
    inner: Mutex<Inner>,
    /// Told when something was appended.
    pub appended: Notify,
}

#[derive(Default)]
struct Inner {
    topics: BTreeMap<String, Topic>,
    commits: BTreeMap<(String, TopicId, Partition), i64>,
    uncertain: BTreeSet<(String, Partition, String)>,
}

struct Topic {
    id: TopicId,
    partitions: Vec<Part>,
}

#[derive(Default)]
struct Part {
    records: Vec<(i64, Record)>,
    end: i64,
}

/// What makes a record the same as another: its id, and for a dead letter the stage that gave it up.
fn identity(record: &Record) -> String {
    record.dead.as_ref().map_or(record.id.to_string(), |dead| format!("{}/{}", record.id, dead.stage))
}

impl SimLog {
    pub(super) fn new(partitions: i32, trouble: Arc<Trouble>) -> Self {
        SimLog { partitions, trouble, inner: Mutex::default(), appended: Notify::new() }
    }

    /// The number of partitions of every topic.
    pub fn partitions(&self) -> i32 {
        self.partitions
    }

    /// The partition of a device.
    pub fn partition_of(&self, device: &DeviceId) -> Partition {
        (device.hash64() % self.partitions as u64) as Partition
    }

    /// The identity of a topic, which is created when it is first named.
    pub fn id(&self, topic: &str) -> TopicId {
        self.lock().topic(topic, self.partitions).id
    }

    /// Appends a record, unless it is a repetition of one whose answer was lost; its offset.
    pub fn append(&self, topic: &str, partition: Partition, record: Record) -> Option<i64> {
        if record.dead.is_some() && topic != "dead" {
            self.trouble.violation(format!("a dead letter was written to {topic}"));
        }
        let hole = i64::from(self.trouble.between(0, 9) == 0);
        let mut inner = self.lock();
        if inner.uncertain.remove(&(topic.to_owned(), partition, identity(&record))) {
            return None;
        }
        let found = inner.topic(topic, self.partitions);
        let part = &mut found.partitions[partition as usize];
        let offset = part.end + hole;
        part.end = offset + 1;
        let position = Position { topic: found.id, partition, offset, output: 0 };
        part.records.push((offset, Record { position: Some(position), ..record }));
        drop(inner);
        self.trouble.note(|| format!("{topic}/{partition}/{offset} appended"));
        self.appended.notify_waiters();
        Some(offset)
    }

    /// The answer to a record's append did not reach its writer.
    pub fn answer_lost(&self, topic: &str, partition: Partition, record: &Record) {
        self.lock().uncertain.insert((topic.to_owned(), partition, identity(record)));
    }

    /// The first record at or behind an offset.
    pub fn peek(&self, topic: &str, partition: Partition, from: i64) -> Option<(i64, Record)> {
        let mut inner = self.lock();
        let records = &inner.topic(topic, self.partitions).partitions[partition as usize].records;
        let at = records.partition_point(|(offset, _)| *offset < from);
        records.get(at).cloned()
    }

    /// Everything in a partition.
    pub fn all(&self, topic: &str, partition: Partition) -> Vec<(i64, Record)> {
        self.lock().topic(topic, self.partitions).partitions[partition as usize].records.clone()
    }

    /// The offset behind the last record of a partition.
    pub fn end(&self, topic: &str, partition: Partition) -> i64 {
        self.lock().topic(topic, self.partitions).partitions[partition as usize].end
    }

    /// Whether a record is in a topic.
    pub fn recall(&self, topic: &str, record: &Record) -> bool {
        let mut inner = self.lock();
        let parts = &inner.topic(topic, self.partitions).partitions;
        parts.iter().any(|p| p.records.iter().any(|(_, r)| r.id == record.id))
    }

    /// The next offset that a group has to read.
    pub fn committed(&self, group: &str, topic: TopicId, partition: Partition) -> Option<i64> {
        self.lock().commits.get(&(group.to_owned(), topic, partition)).copied()
    }

    /// A group's next offset to read is this one.
    pub fn commit(&self, group: &str, topic: TopicId, partition: Partition, next: i64) {
        self.lock().commits.insert((group.to_owned(), topic, partition), next);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn topic(&mut self, name: &str, partitions: i32) -> &mut Topic {
        let number = self.topics.len() as u128 + 1;
        self.topics.entry(name.to_owned()).or_insert_with(|| Topic {
            id: TopicId(Uuid::from_u128(number)),
            partitions: (0..partitions).map(|_| Part::default()).collect(),
        })
    }
}

/// A topic of the log as a keyed stage's journal.
pub(crate) fn journal(log: &Arc<SimLog>, topic: &'static str) -> Arc<dyn Journal> {
    Arc::new(LogJournal { log: log.clone(), topic })
}

struct LogJournal {
    log: Arc<SimLog>,
    topic: &'static str,
}

#[async_trait]
impl Journal for LogJournal {
    async fn end(&self, partition: Partition) -> Result<i64, PortError> {
        if self.log.trouble.is_down("log") || self.log.trouble.fails("journal") {
            return Err(PortError("injected: the journal is away".to_owned()));
        }
        Ok(self.log.end(self.topic, partition))
    }

    async fn read(&self, partition: Partition, from: i64) -> Result<Vec<Record>, PortError> {
        if self.log.trouble.is_down("log") || self.log.trouble.fails("journal") {
            return Err(PortError("injected: the journal is away".to_owned()));
        }
        let all = self.log.all(self.topic, partition);
        Ok(all.into_iter().filter(|(offset, _)| *offset >= from).map(|(_, record)| record).collect())
    }
}
