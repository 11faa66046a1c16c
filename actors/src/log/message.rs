//! A message of a log becomes a record, or a rejected one (`docs/formats.md`, "Message" and "Identity").
//!
//! The record's message and payload are slices of the value as it was read.

use bytes::Bytes;
use std::sync::Arc;
use telemill_engine::clock::Timestamp;
use telemill_engine::device_id::DeviceId;
use telemill_engine::envelope;
use telemill_engine::position::Position;
use telemill_engine::record::{DeadReason, EventId, Kind, Reason, Record};
use telemill_engine::source::RejectedRecord;
use ulid::Ulid;
use xxhash_rust::xxh3::xxh3_128;

use super::headers::MessageHeaders;

/// Stands for the device of a rejected record whose own is unfit or unknown; a dead letter then has no key.
pub const NO_DEVICE: &str = "-";

/// A message taken from the log.
#[derive(Debug)]
pub struct Taken {
    /// Where it stands on the time line that topics are merged by: `received-at-ms`, or the time of the log.
    pub time: Timestamp,
    /// The record, or what is known of a message that is none.
    pub record: Result<Record, Box<RejectedRecord>>,
}

/// Whether records of this kind stand in the log as they are, without a message around them.
pub fn is_bare(kind: &Kind) -> bool {
    matches!(kind, Kind::Alert | Kind::Presence | Kind::Mark)
}

/// A message as it stands in a log.
pub(crate) struct Parts<'a> {
    /// The name of its topic.
    pub(crate) topic: &'a str,
    pub(crate) position: Position,
    /// When the log took it, in Unix milliseconds.
    pub(crate) timestamp: Option<u64>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<Bytes>,
    pub(crate) headers: MessageHeaders<'a>,
}

impl Parts<'_> {
    /// Takes the message apart. `stage` is named in the dead letter of one that is no record.
    pub(crate) fn take(self, stage: &Arc<str>) -> Taken {
        let logged_at = Timestamp(self.timestamp.unwrap_or_default());
        let time = self.headers.received_at().unwrap_or(logged_at);
        let record = self.record(logged_at);
        let record = record.map_err(|(reason, detail)| Box::new(self.reject(reason, detail, time, stage)));
        Taken { time, record }
    }

    fn record(&self, logged_at: Timestamp) -> Result<Record, (Reason, String)> {
        let Some(message) = &self.value else {
            return Err((Reason::BAD_ENVELOPE, "the record has no value".to_owned()));
        };
        let kind = self.headers.kind();
        let stamped = self.headers.event_id();
        let mut kept = Some(message.clone());
        let (named, payload, timestamp, written_id) = match is_bare(&kind) && stamped.is_some() {
            true => (None, message.clone(), None, None),
            false => {
                let envelope = envelope::read(message, stamped.is_some());
                let envelope = envelope.map_err(|error| (Reason::BAD_ENVELOPE, error.to_string()))?;
                // Handed on it has a stamp, and would be read as ours: it is then written anew.
                kept = kept.filter(|message| stamped.is_some() || !envelope::is_mistakable(message, &envelope));
                (envelope.device_id, envelope.payload, envelope.timestamp, envelope.event_id)
            }
        };
        let device = self.device(named.as_deref(), &kind)?;
        let id = stamped.or(written_id).unwrap_or_else(|| derived_id(&self.position, logged_at));
        let received_at = self.headers.received_at();
        let received_at = received_at.or_else(|| timestamp.map(|seconds| Timestamp(seconds.saturating_mul(1000))));
        let mut record = Record::new(id, device, kind, payload, received_at.unwrap_or(logged_at));
        record.message = kept;
        record.position = Some(self.position);
        record.origin = self.headers.origin();
        record.sent = self.headers.sent();
        record.traceparent = self.headers.traceparent().map(Arc::from);
        Ok(record)
    }

    /// The device that the message names, or the key. The two must agree: the key decides the partition, and with it
    /// which shard owns the device.
    fn device(&self, named: Option<&str>, kind: &Kind) -> Result<DeviceId, (Reason, String)> {
        let name = match (named, self.key) {
            (Some(named), Some(key)) if named.as_bytes() != key => {
                let detail = format!("device_id `{named}` is not the key `{}`", key.escape_ascii());
                return Err((Reason::BAD_ENVELOPE, detail));
            }
            (Some(named), _) => named.as_bytes(),
            (None, Some(key)) => key,
            (None, None) if *kind == Kind::Mark => NO_DEVICE.as_bytes(),
            (None, None) => {
                return Err((Reason::BAD_DEVICE_ID, "neither a key nor a device_id names the device".to_owned()));
            }
        };
        DeviceId::new(name).map_err(|error| (Reason::BAD_DEVICE_ID, error.to_string()))
    }

    fn reject(&self, reason: Reason, detail: String, time: Timestamp, stage: &Arc<str>) -> RejectedRecord {
        let device = self.key.and_then(|key| DeviceId::new(key).ok()).filter(|_| reason != Reason::BAD_DEVICE_ID);
        let device = device.unwrap_or_else(no_device);
        let id = self.headers.event_id().unwrap_or_else(|| derived_id(&self.position, time));
        let raw = self.value.clone().unwrap_or_default();
        let mut record = Record::new(id, device, self.headers.kind(), raw, time);
        record.position = Some(self.position);
        record.origin = self.headers.origin();
        record.sent = self.headers.sent();
        record.traceparent = self.headers.traceparent().map(Arc::from);
        let source = format!("{}/{}/{}", self.topic, self.position.partition, self.position.offset);
        let why =
            DeadReason { reason, detail: detail.into(), stage: stage.clone(), attempts: 1, source: source.into() };
        RejectedRecord { record, why }
    }
}

/// The device of a record that has none.
pub fn no_device() -> DeviceId {
    DeviceId::new(NO_DEVICE.as_bytes()).expect("a dash is in the alphabet")
}

/// The identity of a record that was written without one: the same on every replay.
fn derived_id(position: &Position, logged_at: Timestamp) -> EventId {
    let place = format!("{}/{}/{}", position.topic, position.partition, position.offset);
    let random = xxh3_128(place.as_bytes()) >> (128 - Ulid::RAND_BITS);
    EventId(Ulid::from_parts(logged_at.as_millis(), random))
}

#[cfg(test)]
mod tests {
    use super::*;
    use telemill_engine::position::TopicId;
    use uuid::Uuid;

    const STAMP: &str = "00000000070000000000000009";

    fn parts<'a>(key: Option<&'a str>, value: &'static str, headers: &'a [(&'a str, &'a str)]) -> Parts<'a> {
        let mut read = MessageHeaders::default();
        for (name, value) in headers {
            read.set(name.as_bytes(), value.as_bytes());
        }
        Parts {
            topic: "iot-data",
            position: Position { topic: TopicId(Uuid::from_u128(1)), partition: 3, offset: 41, output: 0 },
            timestamp: Some(1_700_000_000_000),
            key: key.map(str::as_bytes),
            value: Some(Bytes::from_static(value.as_bytes())),
            headers: read,
        }
    }

    fn taken(parts: Parts<'_>) -> Taken {
        parts.take(&"events".into())
    }

    #[test]
    fn an_own_record_is_taken_as_it_was_written() {
        let value = r#"{"device_id":"d1","payload":{"t":1},"timestamp":5,"event_id":"00000000070000000000000009"}"#;
        let headers = [("event-id", STAMP), ("received-at-ms", "5432"), ("kind", "hello")];
        let taken = taken(parts(Some("d1"), value, &headers));
        let record = taken.record.unwrap();
        assert_eq!(taken.time, Timestamp(5432));
        assert_eq!((record.id.to_string().as_str(), record.device.as_str()), (STAMP, "d1"));
        assert_eq!((record.kind, record.received_at), (Kind::Hello, Timestamp(5432)));
        let message = record.message.unwrap();
        assert_eq!(record.payload, Bytes::from_static(br#"{"t":1}"#));
        assert_eq!(record.payload.as_ptr(), message[28..].as_ptr(), "the payload is a slice of the message");
        assert_eq!(record.position.map(|p| (p.partition, p.offset, p.output)), Some((3, 41, 0)));
    }

    #[test]
    fn a_foreign_record_takes_what_is_missing_from_key_and_log() {
        let taken = taken(parts(Some("d1"), r#"{"payload": [1]}"#, &[]));
        let record = taken.record.unwrap();
        assert_eq!(record.device.as_str(), "d1");
        assert_eq!(record.payload, Bytes::from_static(b"[1]"));
        assert_eq!((record.kind, record.received_at), (Kind::Data, Timestamp(1_700_000_000_000)));
        assert_eq!(record.id.0.timestamp_ms(), 1_700_000_000_000);
        let place = b"00000000000000000000000000000001/3/41";
        assert_eq!(record.id.0.to_bytes()[6..], xxh3_128(place).to_be_bytes()[..10]);
    }

    #[test]
    fn a_foreign_record_in_the_dress_of_our_own_is_written_anew() {
        let value =
            r#"{"device_id":"d1","payload":1,"note":"x","timestamp":5,"event_id":"00000000070000000000000009"}"#;
        let record = taken(parts(Some("d1"), value, &[])).record.unwrap();
        assert_eq!((&record.payload, &record.message), (&Bytes::from_static(b"1"), &None));
        let handed_on = envelope::message_of(&record).into_owned();
        let mut again = parts(Some("d1"), "", &[("event-id", STAMP)]);
        again.value = Some(handed_on.into());
        assert_eq!(taken(again).record.unwrap().payload, record.payload);
    }

    #[test]
    fn a_foreign_timestamp_is_the_arrival_but_not_the_order() {
        let taken = taken(parts(None, r#"{"device_id":"d1","payload":1,"timestamp":12}"#, &[]));
        assert_eq!(taken.time, Timestamp(1_700_000_000_000));
        assert_eq!(taken.record.unwrap().received_at, Timestamp(12_000));
    }

    #[test]
    fn alerts_and_presence_have_no_message_around_them() {
        let headers = [("event-id", STAMP), ("kind", "alert")];
        let record = taken(parts(Some("d1"), r#"{"v":1,"alertname":"x"}"#, &headers)).record.unwrap();
        assert_eq!(record.payload, Bytes::from_static(br#"{"v":1,"alertname":"x"}"#));
        assert_eq!(record.message.as_ref(), Some(&record.payload));
    }

    #[test]
    fn what_is_no_record_is_rejected_with_its_bytes() {
        let check = |key: Option<&str>, value: &'static str, reason: Reason, device: &str| {
            let rejected = *taken(parts(key, value, &[])).record.unwrap_err();
            assert_eq!(rejected.why.reason, reason, "{value}");
            assert_eq!(rejected.why.source, Bytes::from_static(b"iot-data/3/41"));
            assert_eq!(&*rejected.why.stage, "events");
            assert_eq!(rejected.record.payload, Bytes::from_static(value.as_bytes()));
            assert_eq!(rejected.record.device.as_str(), device, "{value}");
        };
        check(Some("d1"), "not json", Reason::BAD_ENVELOPE, "d1");
        check(Some("d1"), r#"{"device_id":"d1"}"#, Reason::BAD_ENVELOPE, "d1");
        check(Some("d2"), r#"{"device_id":"d1","payload":1}"#, Reason::BAD_ENVELOPE, "d2");
        check(Some("a/b"), r#"{"payload":1}"#, Reason::BAD_DEVICE_ID, NO_DEVICE);
        check(None, r#"{"payload":1}"#, Reason::BAD_DEVICE_ID, NO_DEVICE);
        check(Some("a/b"), "not json", Reason::BAD_ENVELOPE, NO_DEVICE);
        let mut tombstone = parts(Some("d1"), "", &[]);
        tombstone.value = None;
        assert_eq!(taken(tombstone).record.unwrap_err().why.reason, Reason::BAD_ENVELOPE);
    }
}
