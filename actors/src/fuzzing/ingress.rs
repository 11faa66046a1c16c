//! MQTT messages at an ingress: `template`, `---`, `topic`, `---`, `payload`.

use std::fmt;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use telemill_engine::clock::Timestamp;
use telemill_engine::device_id::DeviceId;
use telemill_engine::envelope;
use telemill_engine::record::EventId;
use ulid::Ulid;

use super::parts;
use crate::ingress::payload::Limits;
use crate::ingress::{Look, Route, Routes};
use crate::mqtt::TopicTemplate;

const LIMITS: Limits = Limits { max_payload: 1024, max_depth: 8 };

/// What is fit names its device in one way only, is JSON within the limits, and stands in the log byte for byte.
pub(super) fn holds(bytes: &[u8]) {
    let Some([template, topic, payload]) = parts(bytes) else { return };
    let (Ok(template), Ok(topic)) = (std::str::from_utf8(template), std::str::from_utf8(topic)) else { return };
    let Ok(template) = TopicTemplate::parse(template) else { return };
    is_exact(&template);
    for needs_json in [true, false] {
        let routes = vec![Route { template: template.clone(), kind: "data".into(), needs_json }];
        let routes = Routes { routes, limits: LIMITS };
        match routes.look(topic, payload) {
            Look::Fit { device, with_payload, .. } => {
                assert_eq!(template.topic_of(&device), topic);
                assert_eq!(routes.device_in(topic), Some(device.as_str()));
                assert!(with_payload || !needs_json);
                if with_payload {
                    is_fit(&device, payload);
                }
            }
            Look::Unfit { why, .. } => assert!(!why.detail.is_empty()),
            Look::Unmatched => assert_eq!(template.device_in(topic), None),
        }
    }
}

fn is_exact(template: &TopicTemplate) {
    let device = DeviceId::new(b"a-device").expect("letters");
    let filter = template.filter();
    assert_eq!(filter.split('/').filter(|level| *level == "+").count(), 1, "{filter}");
    assert!(!filter.contains('#'), "{filter}");
    assert_eq!(template.device_in(&template.topic_of(&device)), Some(device.as_str()));
    assert!(template.overlaps(template));
}

fn is_fit(device: &DeviceId, payload: &[u8]) {
    assert!(payload.len() <= LIMITS.max_payload);
    let text = std::str::from_utf8(payload).expect("a fit payload is UTF-8");
    serde_json::from_str::<IgnoredAny>(text).expect("a fit payload is JSON");
    // A full reader does not take a number that is too large for it.
    if let Ok(Depth(depth)) = serde_json::from_str(text) {
        assert!(depth <= LIMITS.max_depth, "{depth} levels");
    }
    let mut message = Vec::new();
    let (at, id) = (Timestamp(1_678_886_400_999), EventId(Ulid::from_parts(7, 9)));
    envelope::write(&mut message, device, payload, at, id);
    let message = Bytes::from(message);
    let own = envelope::read(&message, true).expect("our own form");
    assert_eq!(own.payload, payload);
    let mut foreign = envelope::read(&message, false).expect("our own form is JSON");
    // To a reader of JSON the space around a value does not belong to it.
    assert_eq!(foreign.payload, text.trim_matches([' ', '\t', '\n', '\r']));
    foreign.payload = own.payload.clone();
    assert_eq!(own, foreign);
}

/// The levels of arrays and objects, by a reader that has nothing in common with the one that is tested.
struct Depth(usize);

impl<'de> Deserialize<'de> for Depth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Levels)
    }
}

struct Levels;

impl<'de> Visitor<'de> for Levels {
    type Value = Depth;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Depth, E> {
        Ok(Depth(0))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Depth, E> {
        Ok(Depth(0))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Depth, E> {
        Ok(Depth(0))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Depth, E> {
        Ok(Depth(0))
    }

    fn visit_str<E>(self, _: &str) -> Result<Depth, E> {
        Ok(Depth(0))
    }

    fn visit_unit<E>(self) -> Result<Depth, E> {
        Ok(Depth(0))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Depth, A::Error> {
        let mut deepest = 0;
        while let Some(Depth(depth)) = items.next_element()? {
            deepest = deepest.max(depth);
        }
        Ok(Depth(deepest + 1))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Depth, A::Error> {
        let mut deepest = 0;
        while let Some((IgnoredAny, Depth(depth))) = members.next_entry()? {
            deepest = deepest.max(depth);
        }
        Ok(Depth(deepest + 1))
    }
}
