//! Topics of the embedded log: made as declared, checked where they exist.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use telemill_engine::context::TopicDecl;
use telemill_engine::position::{Partition, TopicId};
use uuid::Uuid;

use super::LogError;
use super::keys::{Line, Place, TOPICS, broken};
use crate::embedded::disk::{KeyRange, Read, Tx};

/// What a record may have where the topic does not say: as in Kafka.
const MAX_MESSAGE: u64 = 1_048_588;
const VERSION: u8 = 1;

/// A topic that is there and as declared. Its ends are those of what is durable.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: String,
    /// Its identity.
    pub(crate) id: TopicId,
    /// Its number, which stands in keys.
    pub(super) number: u32,
    pub(super) partitions: Vec<Bounds>,
    /// As last declared; 0 stands for no limit.
    max_message: AtomicU64,
    retention_ms: AtomicU64,
    retention_bytes: AtomicU64,
}

/// What is retained of a partition.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    pub(super) start: AtomicI64,
    pub(super) end: AtomicI64,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    v: u8,
    id: Uuid,
    number: u32,
    partitions: i32,
}

impl Topic {
    /// The number of partitions.
    pub(crate) fn partitions(&self) -> i32 {
        self.partitions.len() as i32
    }

    /// The first offset retained and the one behind the last durable one; nothing of a partition that does not exist.
    pub(crate) fn bounds(&self, partition: Partition) -> (i64, i64) {
        let bounds = usize::try_from(partition).ok().and_then(|at| self.partitions.get(at));
        bounds.map_or((0, 0), |b| (b.start.load(Ordering::Acquire), b.end.load(Ordering::Acquire)))
    }

    /// The largest record, in bytes.
    pub(crate) fn max_message(&self) -> u64 {
        self.max_message.load(Ordering::Relaxed)
    }

    pub(super) fn retention(&self) -> Option<Duration> {
        Some(self.retention_ms.load(Ordering::Relaxed)).filter(|ms| *ms > 0).map(Duration::from_millis)
    }

    pub(super) fn retention_bytes(&self) -> Option<u64> {
        Some(self.retention_bytes.load(Ordering::Relaxed)).filter(|bytes| *bytes > 0)
    }

    pub(super) fn place(&self, partition: Partition) -> Place {
        Place { topic: self.number, partition }
    }

    /// Moves the ends to what a partition's line says.
    pub(super) fn moved(&self, partition: Partition, line: Line) {
        if let Some(bounds) = usize::try_from(partition).ok().and_then(|at| self.partitions.get(at)) {
            bounds.start.fetch_max(line.start, Ordering::AcqRel);
            bounds.end.fetch_max(line.end, Ordering::AcqRel);
        }
    }

    /// Takes over what a declaration says that may change.
    pub(super) fn declare(&self, decl: &TopicDecl) {
        let retention = decl.retention.map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1));
        self.max_message.store(decl.max_message_bytes.unwrap_or(MAX_MESSAGE), Ordering::Relaxed);
        self.retention_ms.store(retention, Ordering::Relaxed);
        self.retention_bytes.store(decl.retention_bytes.unwrap_or(0), Ordering::Relaxed);
    }
}

/// Makes the topics that are missing and loads the others; in the same order.
pub(super) fn ensure(tx: &mut Tx<'_>, declared: &[TopicDecl]) -> Result<Vec<Topic>, LogError> {
    declared.iter().map(|decl| one(tx, decl)).collect()
}

fn one(tx: &mut Tx<'_>, decl: &TopicDecl) -> Result<Topic, LogError> {
    let name = &decl.name;
    if decl.replication > 1 || decl.min_insync_replicas.is_some_and(|replicas| replicas > 1) {
        return Err(LogError::Impossible(format!(
            "topic `{name}` is declared with replicas, but the embedded log is one copy on one disk: leave \
             `replication` and `min_insync_replicas` out, or use a Kafka cluster"
        )));
    }
    let entry = match tx.get(TOPICS, name.as_bytes())? {
        Some(value) => {
            let entry = serde_json::from_slice::<Entry>(&value).ok().filter(|entry| entry.v == VERSION);
            entry.ok_or_else(|| broken(&format!("topic `{name}`")))?
        }
        None => {
            let number = tx.rows(TOPICS, KeyRange::prefix("")).count() as u32;
            let entry = Entry { v: VERSION, id: Uuid::new_v4(), number, partitions: decl.partitions };
            let value = serde_json::to_vec(&entry).expect("an entry is plain data");
            tx.insert(TOPICS, name.clone(), value);
            tracing::info!(code = "topic_created", topic = name, "created");
            entry
        }
    };
    if entry.partitions != decl.partitions {
        return Err(LogError::Impossible(format!(
            "topic `{name}` has {} partitions, but {} are declared; a topic's partitions cannot change without breaking \
             the order of its records: declare {}, or use another topic",
            entry.partitions, decl.partitions, entry.partitions
        )));
    }
    let topic = Topic {
        name: name.clone(),
        id: TopicId(entry.id),
        number: entry.number,
        partitions: (0..entry.partitions).map(|_| Bounds::default()).collect(),
        max_message: AtomicU64::new(0),
        retention_ms: AtomicU64::new(0),
        retention_bytes: AtomicU64::new(0),
    };
    for partition in 0..entry.partitions {
        topic.moved(partition, Line::load(tx, topic.place(partition))?);
    }
    topic.declare(decl);
    Ok(topic)
}
