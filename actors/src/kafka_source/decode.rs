//! A message of the log as the merge takes it: the record, its time, and, for a mark, what it waits for.

use std::sync::Arc;

use rdkafka::Message;
use rdkafka::message::BorrowedMessage;
use telemill_engine::record::{DeadReason, Kind, Reason, Record};
use telemill_engine::source::RejectedRecord;

use super::merge::{Gate, In};
use super::setup::Setup;
use crate::kafka::mark::{MARK_VERSION, Mark};
use crate::kafka::partitioner::partition_of;
use crate::kafka::wire::record_from_message;

/// A record, or what is known of a message that is none.
pub(super) type Body = Result<Record, Box<RejectedRecord>>;

/// Takes a message of the topic at index `topic` apart.
pub(super) fn message(message: &BorrowedMessage<'_>, topic: usize, setup: &Setup) -> In<Body> {
    let taken = record_from_message(message, setup.topics[topic].id, &setup.stage);
    let (body, gates) = match taken.record {
        Ok(record) if record.kind != Kind::Mark && !is_at_home(&record, setup) => {
            (elsewhere(record, topic, setup), Vec::new())
        }
        Ok(record) => as_mark(record, topic, setup),
        unfit => (unfit, Vec::new()),
    };
    let weight = match &body {
        Ok(record) => record.weight(),
        Err(rejected) => rejected.record.weight(),
    };
    In { offset: message.offset(), time: taken.time.as_millis(), gates, weight, item: body }
}

/// Whether the record stands in the partition that its device belongs to. Else the device may have records in several:
/// their order would not be known, and several shards would have a session of it.
fn is_at_home(record: &Record, setup: &Setup) -> bool {
    record.position.is_none_or(|position| position.partition == partition_of(record.device.as_str(), setup.partitions))
}

fn elsewhere(record: Record, topic: usize, setup: &Setup) -> Body {
    let (device, count) = (record.device.clone(), setup.partitions);
    let (home, here) =
        (partition_of(device.as_str(), count), record.position.map_or(-1, |position| position.partition));
    let detail = format!(
        "device `{device}` belongs to partition {home} of {count} (murmur2 of its id), and this record is in {here}: its \
         producer has to write the device id as the key, with Kafka's default partitioner"
    );
    refused(record, topic, setup, Reason::WRONG_PARTITION, detail)
}

/// Marks are taken from their own topic only, and nothing else is.
fn as_mark(record: Record, topic: usize, setup: &Setup) -> (Body, Vec<Gate>) {
    match (setup.marks() == Some(topic), record.kind == Kind::Mark) {
        (false, false) => (Ok(record), Vec::new()),
        (true, true) => match serde_json::from_slice::<Mark>(&record.payload) {
            Ok(mark) if mark.v == MARK_VERSION => {
                let gates = gates(&mark, setup);
                (Ok(record), gates)
            }
            Ok(mark) => unfit(record, topic, setup, format!("mark of version {}, not {MARK_VERSION}", mark.v)),
            Err(error) => unfit(record, topic, setup, format!("not a mark: {error}")),
        },
        (true, false) => unfit(record, topic, setup, "a record that is no mark in the marks' topic".to_owned()),
        (false, true) => unfit(record, topic, setup, "a mark outside of the marks' topic".to_owned()),
    }
}

fn gates(mark: &Mark, setup: &Setup) -> Vec<Gate> {
    let lane = |name: &str| setup.topics.iter().position(|topic| *topic.name == *name);
    mark.delivered.iter().filter_map(|(name, offset)| Some((lane(name)?, *offset))).collect()
}

fn unfit(record: Record, topic: usize, setup: &Setup, detail: String) -> (Body, Vec<Gate>) {
    (refused(record, topic, setup, Reason::BAD_ENVELOPE, detail), Vec::new())
}

fn refused(mut record: Record, topic: usize, setup: &Setup, reason: Reason, detail: String) -> Body {
    // The whole message is what a dead letter holds.
    if let Some(message) = record.message.take() {
        record.payload = message;
    }
    let (partition, offset) = record.position.map_or((-1, -1), |position| (position.partition, position.offset));
    let why = DeadReason {
        reason,
        detail: detail.into(),
        stage: Arc::clone(&setup.stage),
        attempts: 1,
        source: format!("{}/{partition}/{offset}", setup.topics[topic].name).into(),
    };
    Err(Box::new(RejectedRecord { record, why }))
}
