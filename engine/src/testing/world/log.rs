//! A log: topics, partitions, offsets with holes, groups that commit.
//!
//! It also stands for what an idempotent producer knows: a write whose answer was lost is recognised when it comes
//! again from the same owner. A record that was written and confirmed is written again when it comes again, so that the
//! checker sees it.
//!
//! Topics and groups have owners, as transactional ids and group members have: once a later one has come, nothing is
//! taken from the former.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::device_id::DeviceId;
use crate::ports::{Journal, PortError};
use crate::position::{Epoch, Partition, Position, TopicId};
use crate::record::{EventId, Record};

use super::{DEAD, Trouble};

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
    uncertain: BTreeSet<(Epoch, String, Partition, EventId)>,
    /// The newest owner of each topic and group that has any.
    owners: BTreeMap<String, Epoch>,
}

/// A later owner has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superseded {
    /// The later owner.
    pub by: Epoch,
}

struct Topic {
    id: TopicId,
    partitions: Vec<Part>,
}

#[derive(Default)]
struct Part {
    records: Vec<(i64, Record)>,
    /// Who wrote each.
    writers: Vec<Epoch>,
    end: i64,
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

    /// An owner takes over a topic or a group: nothing is taken from earlier ones any more.
    pub fn take_over(&self, what: &str, epoch: Epoch) -> Result<(), Superseded> {
        let mut inner = self.lock();
        inner.may(what, epoch)?;
        inner.owners.insert(what.to_owned(), epoch);
        Ok(())
    }

    /// Appends a record, whoever may own the topic; its offset.
    pub fn append(&self, topic: &str, partition: Partition, record: Record) -> i64 {
        let writer = self.lock().owners.get(topic).copied().unwrap_or_default();
        self.push(topic, partition, record, writer)
    }

    /// Appends a record in the name of an owner, unless it is a repetition of one whose answer was lost. `lost`: this
    /// one's answer will be.
    pub fn write(
        &self,
        topic: &str,
        partition: Partition,
        record: &Record,
        epoch: Epoch,
        lost: bool,
    ) -> Result<(), Superseded> {
        let mut inner = self.lock();
        inner.may(topic, epoch)?;
        let known = (epoch, topic.to_owned(), partition, record.id);
        let is_there = inner.uncertain.remove(&known);
        if lost {
            inner.uncertain.insert(known);
        }
        drop(inner);
        if !is_there {
            self.push(topic, partition, record.clone(), epoch);
        }
        Ok(())
    }

    /// Appends a record in the name of somebody who need not be an owner; its offset.
    pub fn push(&self, topic: &str, partition: Partition, record: Record, writer: Epoch) -> i64 {
        if record.dead.is_some() && topic != DEAD {
            self.trouble.violation(format!("a dead letter was written to {topic}"));
        }
        let hole = i64::from(self.trouble.between(0, 9) == 0);
        let mut inner = self.lock();
        let found = inner.topic(topic, self.partitions);
        let part = &mut found.partitions[partition as usize];
        let offset = part.end + hole;
        part.end = offset + 1;
        let position = Position { topic: found.id, partition, offset, output: 0 };
        part.records.push((offset, Record { position: Some(position), ..record }));
        part.writers.push(writer);
        drop(inner);
        self.trouble.note(|| format!("{topic}/{partition}/{offset} appended"));
        self.appended.notify_waiters();
        offset
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

    /// Who wrote what is in a partition, in order.
    pub fn writers(&self, topic: &str, partition: Partition) -> Vec<Epoch> {
        self.lock().topic(topic, self.partitions).partitions[partition as usize].writers.clone()
    }

    /// The offset behind the last record of a partition.
    pub fn end(&self, topic: &str, partition: Partition) -> i64 {
        self.lock().topic(topic, self.partitions).partitions[partition as usize].end
    }

    /// Whether a record is in a topic.
    pub fn recall(&self, topic: &str, record: &Record) -> bool {
        self.has(topic, |r| r.id == record.id)
    }

    /// Whether a topic has a record of which this holds.
    pub fn has(&self, topic: &str, of: impl Fn(&Record) -> bool) -> bool {
        let mut inner = self.lock();
        let parts = &inner.topic(topic, self.partitions).partitions;
        parts.iter().any(|p| p.records.iter().any(|(_, record)| of(record)))
    }

    /// The next offset that a group has to read.
    pub fn committed(&self, group: &str, topic: TopicId, partition: Partition) -> Option<i64> {
        self.lock().commits.get(&(group.to_owned(), topic, partition)).copied()
    }

    /// A group's next offset to read is this one, says an owner.
    pub fn commit(
        &self,
        group: &str,
        (topic, partition): (TopicId, Partition),
        next: i64,
        epoch: Epoch,
    ) -> Result<(), Superseded> {
        let mut inner = self.lock();
        inner.may(group, epoch)?;
        inner.commits.insert((group.to_owned(), topic, partition), next);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn may(&self, what: &str, epoch: Epoch) -> Result<(), Superseded> {
        match self.owners.get(what) {
            Some(by) if *by > epoch => Err(Superseded { by: *by }),
            _ => Ok(()),
        }
    }

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
