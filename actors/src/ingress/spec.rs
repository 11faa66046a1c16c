//! `mqtt_ingress` as written, and what of it does not depend on the connection.

use schemars::JsonSchema;
use serde::Deserialize;
use telemill_engine::context::CheckContext;
use telemill_engine::record::Kind;
use telemill_engine::topology::ByteSize;

use super::Route;
use super::payload::Limits;
use crate::mqtt::{DEVICE_LEVEL, TemplateError, TopicTemplate};

/// The largest `max_payload`, in bytes. What is read waits in memory.
const MAX_PAYLOAD: u64 = 16 << 20;
/// The longest topic that MQTT allows, and room for what surrounds a payload.
const PACKET_MARGIN: usize = 65_535 + 65_536;
/// The packet limit is never below this.
const MIN_PACKET_LIMIT: usize = 1 << 20;

/// Reads devices' messages, from an MQTT broker or from an endpoint of our own.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MqttIngressSpec {
    /// Where devices are heard: a connection of kind `mqtt` (a broker) or `embedded` (an endpoint in this process).
    pub connection: String,
    /// Topic templates, such as `devices/{device_id}/data`. One level is the device; the last one names the kind of
    /// the records.
    pub topics: Vec<String>,
    /// The quality of service of the subscriptions. Only 1.
    #[serde(default = "one")]
    pub qos: u32,
    /// How many sessions share the devices. Only 1 in this version.
    #[serde(default = "one")]
    pub slots: u32,
    /// The largest payload. What is larger goes to the dead letters.
    #[serde(default = "default_max_payload")]
    pub max_payload: ByteSize,
    /// How deep arrays and objects may nest. What is deeper goes to the dead letters.
    #[serde(default = "default_max_depth")]
    pub max_depth: u32,
    /// What becomes of retained messages, which a broker sends again at each new subscription. The embedded endpoint
    /// never sends anything again, so there it makes no difference.
    #[serde(default)]
    pub retained: Retained,
    /// The kinds whose payload must be JSON; what is not goes to the dead letters. The payload of other kinds becomes
    /// `null` where it is not JSON. Default: all kinds but `hello`.
    #[serde(default)]
    pub json: Option<Vec<String>>,
}

fn one() -> u32 {
    1
}

fn default_max_payload() -> ByteSize {
    (256 << 10).into()
}

fn default_max_depth() -> u32 {
    64
}

/// What becomes of retained messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Retained {
    /// They are acknowledged and counted, and go no further.
    #[default]
    Ignore,
    /// They are messages like any other.
    Accept,
}

/// The part of a spec that does not depend on the connection, proven if no problem was reported.
#[derive(Clone, Debug)]
pub(crate) struct IngressChecked {
    pub(crate) routes: Vec<Route>,
    pub(crate) limits: Limits,
    pub(crate) accept_retained: bool,
}

/// The largest packet that is read: well above `max_payload`, so that what is too large still arrives whole and can be
/// dead-lettered.
pub(crate) fn packet_limit(limits: Limits) -> usize {
    MIN_PACKET_LIMIT.max(limits.max_payload + PACKET_MARGIN)
}

/// Proves what does not depend on the connection. Problems are reported to `cx`.
pub(crate) fn check(spec: &MqttIngressSpec, cx: &mut CheckContext<'_>) -> IngressChecked {
    check_promises(spec, cx);
    let max_payload = u64::from(spec.max_payload);
    if !(1..=MAX_PAYLOAD).contains(&max_payload) {
        let message = format!("max_payload is 1 byte to 16 MiB, not {max_payload} bytes");
        cx.problem("max_payload", "mqtt_ingress::max_payload", message, "256KiB is the default");
    }
    let routes = check_topics(spec, cx);
    IngressChecked {
        routes,
        limits: Limits { max_payload: max_payload as usize, max_depth: spec.max_depth as usize },
        accept_retained: spec.retained == Retained::Accept,
    }
}

/// Settings that stand for a promise which this version keeps in one way only.
fn check_promises(spec: &MqttIngressSpec, cx: &mut CheckContext<'_>) {
    match spec.qos {
        1 => {}
        0 => cx.problem(
            "qos",
            "mqtt_ingress::qos",
            "with qos 0 the broker may drop any message, so nothing could be promised",
            "use qos: 1; devices may still publish at qos 0, at their own risk",
        ),
        2 => cx.problem(
            "qos",
            "mqtt_ingress::qos",
            "qos 2 protects one hop only; redelivery is recognised here by packet ids and the log instead",
            "use qos: 1; devices may still publish at qos 2",
        ),
        other => cx.problem("qos", "mqtt_ingress::qos", format!("{other} is no quality of service"), "use qos: 1"),
    }
    if spec.slots != 1 {
        let message = format!("this version reads with 1 slot, not {}", spec.slots);
        cx.problem("slots", "mqtt_ingress::slots", message, "use slots: 1");
    }
}

fn check_topics(spec: &MqttIngressSpec, cx: &mut CheckContext<'_>) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    if spec.topics.is_empty() {
        cx.problem("topics", "mqtt_ingress::topics", "there are no topics", "name at least one topic template");
    }
    for (index, text) in spec.topics.iter().enumerate() {
        let at = format!("topics[{index}]");
        match check_topic(text, spec, &routes) {
            Ok(route) => routes.push(route),
            Err((message, hint)) => cx.problem(at, "mqtt_ingress::topic", message, hint),
        }
    }
    for (index, kind) in spec.json.iter().flatten().enumerate() {
        let named = spec.topics.iter().any(|text| text.rsplit('/').next() == Some(kind));
        if !named {
            let message = format!("no topic ends in `{kind}`");
            cx.problem(format!("json[{index}]"), "mqtt_ingress::json", message, "name the last level of a topic");
        }
    }
    routes
}

fn check_topic(text: &str, spec: &MqttIngressSpec, before: &[Route]) -> Result<Route, (String, &'static str)> {
    let template = TopicTemplate::parse(text).map_err(|error| {
        let hint = match error {
            TemplateError::Shared => "subscribe to the topic itself, without `$share/…/`",
            _ => "such as devices/{device_id}/data",
        };
        (format!("`{text}`: {error}"), hint)
    })?;
    let word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    let Some(last) = template.last_level() else {
        let message = format!("`{text}` ends in `{DEVICE_LEVEL}`, but its last level names the kind of the records");
        return Err((message, "such as devices/{device_id}/data"));
    };
    if !word(last) || last.len() > 64 {
        let message = format!("`{last}` cannot name a kind of records: a kind is a word of letters, digits, - and _");
        return Err((message, "such as devices/{device_id}/data"));
    }
    let kind = Kind::from(last);
    if matches!(kind, Kind::Command | Kind::Mark | Kind::Presence | Kind::Alert) {
        let message = format!("records of the kind `{last}` are made by Telemill itself, not by devices");
        return Err((message, "let the last level of the topic be another word"));
    }
    if let Some(other) = before.iter().find(|other| other.template.overlaps(&template)) {
        let message = format!("`{text}` and `{}` match the same topics", other.template.filter());
        return Err((message, "a message must belong to one template only; remove one of them"));
    }
    let needs_json = match &spec.json {
        Some(kinds) => kinds.iter().any(|kind| kind == last),
        None => kind != Kind::Hello,
    };
    Ok(Route { template, kind, needs_json })
}
