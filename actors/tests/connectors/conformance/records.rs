//! Records as they come out of a log, and batches of them.

use std::sync::Arc;

use bytes::Bytes;
use telemill_engine::ack::Guards;
use telemill_engine::batch::Batch;
use telemill_engine::clock::Timestamp;
use telemill_engine::envelope;
use telemill_engine::position::{Position, TopicId};
use telemill_engine::record::{EventId, Kind, Record};
use ulid::Ulid;
use uuid::Uuid;

pub(crate) const TOPIC: TopicId = TopicId(Uuid::from_u128(0xaa));
pub(crate) const OTHER_TOPIC: TopicId = TopicId(Uuid::from_u128(0xbb));

/// A second that most records are of.
pub(crate) const NOW: u64 = 1_700_000_000;

/// A record as it comes out of the log: its message is Telemill's own form, its payload a piece of it. Ids rise with the
/// topic and the offset.
pub(crate) fn record(device: &str, topic: TopicId, offset: i64, secs: u64, payload: &str) -> Record {
    output(device, topic, (offset, 0), secs, payload)
}

/// The same for one of several that were made out of one offset.
pub(crate) fn output(device: &str, topic: TopicId, at: (i64, u32), secs: u64, payload: &str) -> Record {
    let device = device.parse().unwrap();
    let received_at = Timestamp(secs * 1000);
    let number = (topic.0.as_u128() << 64) + ((at.0 as u128) << 16) + u128::from(at.1);
    let id = EventId(Ulid::from_parts(received_at.0, number));
    let mut message = Vec::new();
    envelope::write(&mut message, &device, payload.as_bytes(), received_at, id);
    let message = Bytes::from(message);
    let payload = envelope::read(&message, true).unwrap().payload;
    let mut record = Record::new(id, device, Kind::Data, payload, received_at);
    record.message = Some(message);
    record.position = Some(Position { topic, partition: 0, offset: at.0, output: at.1 });
    record
}

/// The message of a record, as text.
pub(crate) fn message(record: &Record) -> String {
    String::from_utf8(envelope::message_of(record).into_owned()).unwrap()
}

pub(crate) fn messages(records: &[Record]) -> Vec<String> {
    records.iter().map(message).collect()
}

/// A batch of partition 0 that follows `previous`.
pub(crate) fn batch(previous: &[(TopicId, i64, u32)], records: Vec<Record>) -> Arc<Batch> {
    let mut batch = Batch::new(0, records, Guards::none());
    batch.previous = previous.iter().copied().collect();
    Arc::new(batch)
}

/// Eight batches of five records of one device, each behind the one before.
pub(crate) fn run_of_batches(device: &str, from: i64) -> Vec<Arc<Batch>> {
    let batches = (0..8).map(|b| {
        let first = from + 5 * b;
        let records = (first..first + 5).map(|n| record(device, TOPIC, n, NOW, &format!("\"number {n}\""))).collect();
        let previous = if first > 0 { vec![(TOPIC, first - 1, 0)] } else { Vec::new() };
        batch(&previous, records)
    });
    batches.collect()
}

pub(crate) fn messages_of(batches: &[Arc<Batch>]) -> Vec<String> {
    batches.iter().flat_map(|batch| messages(&batch.records)).collect()
}
