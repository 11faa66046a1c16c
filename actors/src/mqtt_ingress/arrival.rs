//! From a PUBLISH to a record.
//!
//! A message that is unfit is not lost: it goes to the dead letters with its bytes, its topic and the reason. A body
//! that need not be JSON is replaced by none where it is not, and only a bad device id makes such a message unfit.

use std::sync::Arc;

use bytes::Bytes;
use rumqttc::Publish;
use telemill_engine::clock::Timestamp;
use telemill_engine::device_id::DeviceId;
use telemill_engine::record::{DeadReason, EventId, Kind, Record};
use telemill_engine::source::RejectedRecord;
use xxhash_rust::xxh3::xxh3_64;

use crate::ingress::payload::Unfit;
use crate::ingress::{Ids, Look, Routes};
use crate::log::message::no_device;

/// What a PUBLISH is.
#[derive(Debug)]
pub(super) enum Arrival {
    /// A message of a device.
    Fit(Record),
    /// One for the dead letters.
    Unfit(RejectedRecord),
    /// Its topic belongs to none of our templates: a subscription of an earlier configuration.
    Unmatched,
}

/// Turns PUBLISHes into records.
pub(super) struct Inspector {
    routes: Routes,
    stage: Arc<str>,
    nobody: DeviceId,
    ids: Ids,
    hashed: Vec<u8>,
}

impl Inspector {
    pub(super) fn new(routes: Routes, stage: Arc<str>) -> Self {
        let nobody = no_device();
        Inspector { routes, stage, nobody, ids: Ids::default(), hashed: Vec::new() }
    }

    /// An id for what arrives at `now`.
    pub(super) fn next_id(&mut self, now: Timestamp) -> EventId {
        self.ids.next(now)
    }

    /// The hash by which a message is known when it comes again: topic, a zero byte, payload.
    pub(super) fn hash(&mut self, publish: &Publish) -> u64 {
        self.hashed.clear();
        self.hashed.extend_from_slice(publish.topic.as_bytes());
        self.hashed.push(0);
        self.hashed.extend_from_slice(&publish.payload);
        xxh3_64(&self.hashed)
    }

    /// Looks at a PUBLISH that arrived at `now`.
    pub(super) fn inspect(&mut self, publish: Publish, now: Timestamp) -> Arrival {
        match self.routes.look(&publish.topic, &publish.payload) {
            Look::Unmatched => Arrival::Unmatched,
            Look::Fit { device, kind, with_payload } => {
                let payload = if with_payload { publish.payload } else { Bytes::new() };
                Arrival::Fit(Record::new(self.next_id(now), device, kind, payload, now))
            }
            Look::Unfit { device, kind, why } => {
                let device = device.unwrap_or_else(|| self.nobody.clone());
                self.unfit(device, kind, publish, now, why)
            }
        }
    }

    fn unfit(&mut self, device: DeviceId, kind: Kind, publish: Publish, now: Timestamp, why: Unfit) -> Arrival {
        let record = Record::new(self.next_id(now), device, kind, publish.payload, now);
        let why = DeadReason {
            reason: why.reason,
            detail: why.detail.into(),
            stage: self.stage.clone(),
            attempts: 1,
            source: publish.topic.into(),
        };
        Arrival::Unfit(RejectedRecord { record, why })
    }
}

#[cfg(test)]
mod tests {
    use rumqttc::QoS;

    use telemill_engine::record::Reason;

    use super::*;
    use crate::ingress::Route;
    use crate::ingress::payload::Limits;
    use crate::mqtt::TopicTemplate;

    fn inspector() -> Inspector {
        let route = |text, needs_json| {
            let template = TopicTemplate::parse(text).unwrap();
            let kind = template.last_level().unwrap().into();
            Route { template, kind, needs_json }
        };
        let routes = vec![route("devices/{device_id}/data", true), route("devices/{device_id}/hello", false)];
        let limits = Limits { max_payload: 20, max_depth: 2 };
        Inspector::new(Routes { routes, limits }, "ingress".into())
    }

    fn publish(topic: &str, payload: &[u8]) -> Publish {
        Publish::new(topic, QoS::AtLeastOnce, payload)
    }

    #[test]
    fn a_message_becomes_a_record_of_its_device() {
        let body = br#"{"t":21.50}"#;
        let Arrival::Fit(record) = inspector().inspect(publish("devices/d1/data", body), Timestamp(5)) else {
            panic!()
        };
        assert_eq!((record.device.as_str(), record.kind, record.received_at), ("d1", Kind::Data, Timestamp(5)));
        assert_eq!(&record.payload[..], body);
        assert_eq!(record.id.0.timestamp_ms(), 5);
    }

    #[test]
    fn the_payload_is_not_copied() {
        let sent = publish("devices/d1/data", b"[1]");
        let at = sent.payload.as_ptr();
        let Arrival::Fit(record) = inspector().inspect(sent, Timestamp(5)) else { panic!() };
        assert_eq!(record.payload.as_ptr(), at);
    }

    #[test]
    fn what_is_unfit_keeps_its_bytes_and_its_topic() {
        let long_id = "x".repeat(60_000);
        let check = |topic: &str, payload: &[u8], reason: Reason, device: &str| {
            let arrival = inspector().inspect(publish(topic, payload), Timestamp(5));
            let Arrival::Unfit(rejected) = arrival else { panic!("{topic}: {arrival:?}") };
            assert_eq!(rejected.why.reason, reason);
            assert_eq!(&rejected.why.source[..], topic.as_bytes());
            assert_eq!((&*rejected.why.stage, rejected.why.attempts), ("ingress", 1));
            assert_eq!((&rejected.record.payload[..], rejected.record.device.as_str()), (payload, device));
        };
        check("devices/d1/data", b"", Reason::EMPTY, "d1");
        check("devices/d1/data", b"{", Reason::NOT_JSON, "d1");
        check("devices/d1/data", b"[[[]]]", Reason::TOO_DEEP, "d1");
        check("devices/d1/data", b"123456789012345678901", Reason::TOO_LARGE, "d1");
        check("devices/d1/data", b"\xff", Reason::NOT_UTF8, "d1");
        check("devices/a b/data", b"1", Reason::BAD_DEVICE_ID, "-");
        check("devices//hello", b"", Reason::BAD_DEVICE_ID, "-");
        check(&format!("devices/{long_id}/data"), b"1", Reason::BAD_DEVICE_ID, "-");
    }

    #[test]
    fn a_hello_is_fit_whatever_its_body() {
        let check = |payload: &[u8], expect: &[u8]| {
            let arrival = inspector().inspect(publish("devices/d1/hello", payload), Timestamp(5));
            let Arrival::Fit(record) = arrival else { panic!("{arrival:?}") };
            assert_eq!((record.kind, &record.payload[..]), (Kind::Hello, expect));
        };
        check(b"[1]", b"[1]");
        check(b"", b"");
        check(b"still here", b"");
        check(b"\xff\xff", b"");
        check(b"[[[]]]", b"");
        check(b"123456789012345678901", b"");
    }

    #[test]
    fn a_topic_of_no_template_is_none_of_ours() {
        assert!(matches!(inspector().inspect(publish("devices/d1/x", b"1"), Timestamp(5)), Arrival::Unmatched));
    }

    #[test]
    fn the_hash_is_that_of_the_format() {
        let mut inspector = inspector();
        assert_eq!(inspector.hash(&publish("a/b", b"{}")), xxh3_64(b"a/b\0{}"));
        assert_ne!(inspector.hash(&publish("a", b"b{}")), inspector.hash(&publish("ab", b"{}")));
    }
}
