//! What a source reads, and a message as its merge takes it: the record, its time, and, for a mark, what it waits for.

use std::sync::Arc;

use telemill_engine::position::TopicId;
use telemill_engine::record::{DeadReason, Kind, Reason, Record};
use telemill_engine::source::RejectedRecord;

use super::mark::{MARK_VERSION, Mark};
use super::merge::{Gate, In};
use super::message::Taken;
use super::murmur2::partition_of;
use super::resume::Resume;

/// A topic that a source reads.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    pub(crate) id: TopicId,
}

/// What a source reads, and as whom.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) topology: Arc<str>,
    pub(crate) stage: Arc<str>,
    /// The leading one first; the marks' topic last.
    pub(crate) topics: Vec<Topic>,
    /// Whether the last topic carries marks.
    pub(crate) has_marks: bool,
    /// Partitions of every topic.
    pub(crate) partitions: i32,
    pub(crate) resume: Resume,
}

/// A record, or what is known of a message that is none.
pub(crate) type Body = Result<Record, Box<RejectedRecord>>;

impl Reading {
    /// The index of the marks' topic.
    pub(crate) fn marks(&self) -> Option<usize> {
        self.has_marks.then(|| self.topics.len() - 1)
    }

    /// A message of the topic at index `topic` as the merge takes it.
    pub(crate) fn to_merge(&self, taken: Taken, topic: usize, offset: i64) -> In<Body> {
        let (body, gates) = match taken.record {
            Ok(record) if record.kind != Kind::Mark && !self.is_at_home(&record) => {
                (self.elsewhere(record, topic), Vec::new())
            }
            Ok(record) => self.as_mark(record, topic),
            unfit => (unfit, Vec::new()),
        };
        let weight = match &body {
            Ok(record) => record.weight(),
            Err(rejected) => rejected.record.weight(),
        };
        In { offset, time: taken.time.as_millis(), gates, weight, item: body }
    }

    /// Whether the record stands in the partition that its device belongs to. Else the device may have records in several:
    /// their order would not be known, and several shards would have a session of it.
    fn is_at_home(&self, record: &Record) -> bool {
        let home = partition_of(record.device.as_str().as_bytes(), self.partitions);
        record.position.is_none_or(|position| position.partition == home)
    }

    fn elsewhere(&self, record: Record, topic: usize) -> Body {
        let (device, count) = (record.device.clone(), self.partitions);
        let home = partition_of(device.as_str().as_bytes(), count);
        let here = record.position.map_or(-1, |position| position.partition);
        let detail = format!(
            "device `{device}` belongs to partition {home} of {count} (murmur2 of its id), and this record is in {here}: \
             its producer has to write the device id as the key, with Kafka's default partitioner"
        );
        self.refused(record, topic, Reason::WRONG_PARTITION, detail)
    }

    /// Marks are taken from their own topic only, and nothing else is.
    fn as_mark(&self, record: Record, topic: usize) -> (Body, Vec<Gate>) {
        match (self.marks() == Some(topic), record.kind == Kind::Mark) {
            (false, false) => (Ok(record), Vec::new()),
            (true, true) => match serde_json::from_slice::<Mark>(&record.payload) {
                Ok(mark) if mark.v == MARK_VERSION => {
                    let gates = self.gates(&mark);
                    (Ok(record), gates)
                }
                Ok(mark) => self.unfit(record, topic, format!("mark of version {}, not {MARK_VERSION}", mark.v)),
                Err(error) => self.unfit(record, topic, format!("not a mark: {error}")),
            },
            (true, false) => self.unfit(record, topic, "a record that is no mark in the marks' topic".to_owned()),
            (false, true) => self.unfit(record, topic, "a mark outside of the marks' topic".to_owned()),
        }
    }

    fn gates(&self, mark: &Mark) -> Vec<Gate> {
        let lane = |name: &str| self.topics.iter().position(|topic| *topic.name == *name);
        mark.delivered.iter().filter_map(|(name, offset)| Some((lane(name)?, *offset))).collect()
    }

    fn unfit(&self, record: Record, topic: usize, detail: String) -> (Body, Vec<Gate>) {
        (self.refused(record, topic, Reason::BAD_ENVELOPE, detail), Vec::new())
    }

    fn refused(&self, mut record: Record, topic: usize, reason: Reason, detail: String) -> Body {
        // The whole message is what a dead letter holds.
        if let Some(message) = record.message.take() {
            record.payload = message;
        }
        let (partition, offset) = record.position.map_or((-1, -1), |position| (position.partition, position.offset));
        let why = DeadReason {
            reason,
            detail: detail.into(),
            stage: Arc::clone(&self.stage),
            attempts: 1,
            source: format!("{}/{partition}/{offset}", self.topics[topic].name).into(),
        };
        Err(Box::new(RejectedRecord { record, why }))
    }
}
