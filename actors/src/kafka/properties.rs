//! Which librdkafka properties a topology may set, and why not the others.

use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// The value of a property as YAML has it: a string, a number or a boolean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PropertyValue(pub String);

/// Properties by name.
pub type Properties = BTreeMap<String, PropertyValue>;

impl<'de> Deserialize<'de> for PropertyValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Scalar;
        impl Visitor<'_> for Scalar {
            type Value = PropertyValue;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a number or a boolean")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<PropertyValue, E> {
                Ok(PropertyValue(text.to_owned()))
            }
            fn visit_bool<E: Error>(self, value: bool) -> Result<PropertyValue, E> {
                Ok(PropertyValue(value.to_string()))
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<PropertyValue, E> {
                Ok(PropertyValue(value.to_string()))
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<PropertyValue, E> {
                Ok(PropertyValue(value.to_string()))
            }
            fn visit_f64<E: Error>(self, value: f64) -> Result<PropertyValue, E> {
                Ok(PropertyValue(value.to_string()))
            }
        }
        deserializer.deserialize_any(Scalar)
    }
}

impl JsonSchema for PropertyValue {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PropertyValue".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": ["string", "number", "boolean"] })
    }
}

const FIELD: &str = "it has a field of its own";
const ORDER: &str = "Telemill sets it: order and the promise to lose nothing depend on it";
const KEY: &str = "Telemill sets it: every client must put a device into the same partition";
const OFFSETS: &str = "Telemill sets it: offsets are committed only once what hangs on them is safe";
const STAGE: &str = "it is set on the stage";
const TLS: &str = "this version speaks plain Kafka only, without TLS and authentication";
const INTERNAL: &str = "it is the client library's own business";

/// Names, and prefixes that end in `.` or `_`, of what may not be set.
const REFUSED: &[(&str, &str)] = &[
    ("bootstrap.servers", FIELD),
    ("metadata.broker.list", FIELD),
    ("client.id", FIELD),
    ("acks", ORDER),
    ("request.required.acks", ORDER),
    ("enable.idempotence", ORDER),
    ("enable.gapless.guarantee", ORDER),
    ("max.in.flight", ORDER),
    ("max.in.flight.requests.per.connection", ORDER),
    ("retries", ORDER),
    ("message.send.max.retries", ORDER),
    ("message.timeout.ms", ORDER),
    ("delivery.timeout.ms", ORDER),
    ("message.max.bytes", "it follows `max_message_size` of the topics"),
    ("batch.size", "it follows `max_message_size` of the topics"),
    ("queuing.strategy", ORDER),
    ("produce.offset.report", ORDER),
    ("delivery.report.only.error", ORDER),
    ("transactional.id", ORDER),
    ("transaction.timeout.ms", ORDER),
    ("partitioner", KEY),
    ("partitioner_cb", KEY),
    ("queue.buffering.max.messages", STAGE),
    ("queue.buffering.max.kbytes", STAGE),
    ("queue.buffering.max.ms", STAGE),
    ("linger.ms", STAGE),
    ("compression.codec", STAGE),
    ("compression.type", STAGE),
    ("statistics.interval.ms", "Telemill sets it: it tells whether a source is stuck on its way into its group"),
    ("group.id", STAGE),
    ("group.instance.id", STAGE),
    ("group.protocol", OFFSETS),
    ("group.remote.assignor", OFFSETS),
    ("partition.assignment.strategy", OFFSETS),
    ("enable.auto.commit", OFFSETS),
    ("auto.commit.interval.ms", OFFSETS),
    ("auto.commit.enable", OFFSETS),
    ("enable.auto.offset.store", OFFSETS),
    ("auto.offset.reset", OFFSETS),
    ("offset.store.", OFFSETS),
    ("isolation.level", OFFSETS),
    ("enable.partition.eof", OFFSETS),
    ("allow.auto.create.topics", "topics are created as the topology declares them"),
    ("security.protocol", TLS),
    ("ssl.", TLS),
    ("ssl_", TLS),
    ("https.ca.", TLS),
    ("sasl.", TLS),
    ("enable.ssl.certificate.verification", TLS),
    ("enable.sasl.oauthbearer.unsecure.jwt", TLS),
    ("plugin.library.paths", INTERNAL),
    ("interceptors", INTERNAL),
    ("opaque", INTERNAL),
    ("default_topic_conf", INTERNAL),
    ("enabled_events", INTERNAL),
    ("log.queue", INTERNAL),
    ("test.mock.", INTERNAL),
    ("builtin.features", INTERNAL),
];

/// Why a property may not be set; `None` when it may.
pub fn refused(name: &str) -> Option<&'static str> {
    let is = |entry: &str| name == entry || (entry.ends_with(['.', '_']) && name.starts_with(entry));
    let listed = REFUSED.iter().find(|(entry, _)| is(entry)).map(|(_, why)| *why);
    listed.or_else(|| name.ends_with("_cb").then_some(INTERNAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_break_a_promise_is_refused() {
        let check = |name: &str, expect: Option<&str>| assert_eq!(refused(name), expect, "{name}");
        check("acks", Some(ORDER));
        check("partitioner", Some(KEY));
        check("enable.auto.commit", Some(OFFSETS));
        check("sasl.password", Some(TLS));
        check("ssl.ca.location", Some(TLS));
        check("dr_msg_cb", Some(INTERNAL));
        check("socket.timeout.ms", None);
        check("fetch.max.bytes", None);
        check("acks.like", None);
    }

    #[test]
    fn a_value_is_any_scalar() {
        let properties: Properties = serde_json::from_str(r#"{"a":"x","b":5,"c":true,"d":1.5,"e":-1}"#).unwrap();
        let values: Vec<_> = properties.values().map(|v| v.0.as_str()).collect();
        assert_eq!(values, ["x", "5", "true", "1.5", "-1"]);
        assert!(serde_json::from_str::<Properties>(r#"{"a":[1]}"#).is_err());
    }
}
