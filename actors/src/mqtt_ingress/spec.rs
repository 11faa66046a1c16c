//! `mqtt_ingress` as written, and proven.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use telemill_engine::context::CheckContext;
use telemill_engine::record::Kind;
use telemill_engine::topology::ByteSize;

use super::arrival::Route;
use super::payload::Limits;
use crate::mqtt::{DEVICE_LEVEL, MqttConnection, TemplateError, TopicTemplate};

/// The largest `max_payload`, in bytes. What is read waits in memory.
const MAX_PAYLOAD: u64 = 16 << 20;
/// The longest topic that MQTT allows, and room for what surrounds a payload.
const PACKET_MARGIN: usize = 65_535 + 65_536;
/// The packet limit is never below this.
const MIN_PACKET_LIMIT: usize = 1 << 20;

/// Reads devices' messages from an MQTT broker.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MqttIngressSpec {
    /// The broker: a connection of kind `mqtt`.
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
    /// What becomes of retained messages, which a broker sends again at each new subscription.
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

/// `mqtt_ingress`, proven.
#[derive(Clone, Debug)]
pub struct MqttIngressChecked {
    pub(super) connection: Arc<MqttConnection>,
    pub(super) routes: Vec<Route>,
    pub(super) limits: Limits,
    pub(super) accept_retained: bool,
}

impl MqttIngressChecked {
    /// The largest packet that is read: well above `max_payload`, so that what is too large still arrives whole and can
    /// be dead-lettered. The broker has to refuse what exceeds it.
    pub fn packet_limit(&self) -> usize {
        MIN_PACKET_LIMIT.max(self.limits.max_payload + PACKET_MARGIN)
    }

    /// The filters to subscribe to.
    pub(super) fn filters(&self) -> Vec<String> {
        self.routes.iter().map(|route| route.template.filter()).collect()
    }
}

/// Proves a spec.
pub(super) fn check(spec: MqttIngressSpec, cx: &mut CheckContext<'_>) -> Option<MqttIngressChecked> {
    let before = cx.problems.len();
    let connection = cx.connection::<MqttConnection>("connection", &spec.connection);
    check_promises(&spec, cx);

    let max_payload = u64::from(spec.max_payload);
    if !(1..=MAX_PAYLOAD).contains(&max_payload) {
        let message = format!("max_payload is 1 byte to 16 MiB, not {max_payload} bytes");
        cx.problem("max_payload", "mqtt_ingress::max_payload", message, "256KiB is the default");
    }
    let routes = check_topics(&spec, cx);
    let checked = MqttIngressChecked {
        connection: connection?,
        routes,
        limits: Limits { max_payload: max_payload as usize, max_depth: spec.max_depth as usize },
        accept_retained: spec.retained == Retained::Accept,
    };
    (cx.problems.len() == before).then_some(checked)
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

#[cfg(test)]
mod tests {
    use telemill_engine::context::{Connection, Connections, Topics};

    use super::*;

    type Problems = Vec<(String, String)>;

    fn checked(spec: MqttIngressSpec) -> Result<MqttIngressChecked, Problems> {
        let (topics, mut problems) = (Topics::default(), Vec::new());
        let mut connections = Connections::new();
        let broker = serde_json::from_str(r#"{"url":"mqtt://broker"}"#).unwrap();
        let mut cx = CheckContext {
            name: "broker",
            inputs: &[],
            connections: &Connections::new(),
            topics: &topics,
            problems: &mut problems,
        };
        let broker = MqttConnection::check(broker, &mut cx).unwrap();
        connections.insert("broker", Arc::new(broker));
        let mut cx = CheckContext {
            name: "ingress",
            inputs: &[],
            connections: &connections,
            topics: &topics,
            problems: &mut problems,
        };
        let checked = check(spec, &mut cx);
        assert_eq!(checked.is_none(), !problems.is_empty());
        checked.ok_or_else(|| problems.into_iter().map(|p| (p.at, p.message)).collect())
    }

    fn of_topics(topics: &[&str]) -> MqttIngressSpec {
        let topics = serde_json::to_string(topics).unwrap();
        serde_json::from_str(&format!(r#"{{"connection":"broker","topics":{topics}}}"#)).unwrap()
    }

    fn with(change: impl FnOnce(&mut MqttIngressSpec)) -> Result<MqttIngressChecked, Problems> {
        let mut spec = of_topics(&["devices/{device_id}/data"]);
        change(&mut spec);
        checked(spec)
    }

    fn finds_one(result: Result<MqttIngressChecked, Problems>, at: &str, says: &str) {
        let problems = result.unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].0 == at && problems[0].1.contains(says), "{problems:?}");
    }

    #[test]
    fn the_shortest_spec_has_the_documented_defaults() {
        let checked = checked(of_topics(&["devices/{device_id}/data", "devices/{device_id}/hello"])).unwrap();
        assert_eq!(checked.filters(), ["devices/+/data", "devices/+/hello"]);
        assert_eq!(checked.limits, Limits { max_payload: 256 * 1024, max_depth: 64 });
        assert_eq!(checked.routes.iter().map(|r| r.needs_json).collect::<Vec<_>>(), [true, false]);
        assert!(!checked.accept_retained);
        assert_eq!(checked.packet_limit(), 1 << 20);
    }

    #[test]
    fn the_packet_limit_stays_above_the_largest_payload_on_the_longest_topic() {
        let limit = |max_payload: u64| with(|spec| spec.max_payload = max_payload.into()).unwrap().packet_limit();
        assert_eq!(limit(1), 1 << 20);
        assert_eq!(limit(16 << 20), (16 << 20) + 65_535 + 65_536);
    }

    #[test]
    fn all_problems_are_found_at_once() {
        let spec = MqttIngressSpec {
            connection: "brocker".to_owned(),
            qos: 0,
            slots: 2,
            max_payload: 0.into(),
            json: Some(vec!["nothing".to_owned()]),
            ..of_topics(&["devices/data", "a/{device_id}"])
        };
        let places: Vec<_> = checked(spec).unwrap_err().into_iter().map(|(at, _)| at).collect();
        assert_eq!(places, ["connection", "qos", "slots", "max_payload", "topics[0]", "topics[1]", "json[0]"]);
    }

    #[test]
    fn what_cannot_be_promised_is_refused() {
        finds_one(with(|spec| spec.qos = 0), "qos", "drop any message");
        finds_one(with(|spec| spec.qos = 2), "qos", "one hop only");
        finds_one(with(|spec| spec.qos = 3), "qos", "3 is no quality of service");
        finds_one(with(|spec| spec.slots = 4), "slots", "1 slot, not 4");
        finds_one(with(|spec| spec.max_payload = 16_777_217.into()), "max_payload", "16 MiB");
    }

    #[test]
    fn a_topic_belongs_to_one_kind_of_ours() {
        let check = |topics: &[&str], at: &str, says: &str| finds_one(checked(of_topics(topics)), at, says);
        check(&[], "topics", "no topics");
        check(&["devices/{device_id}/mark"], "topics[0]", "made by Telemill itself");
        check(&["devices/{device_id}/alert"], "topics[0]", "made by Telemill itself");
        check(&["devices/{device_id}/a b"], "topics[0]", "cannot name a kind");
        check(&["devices/{device_id}/"], "topics[0]", "cannot name a kind");
        check(&["devices/{device_id}"], "topics[0]", "names the kind");
        check(&["$share/g/devices/{device_id}/data"], "topics[0]", "breaks the order");
        check(&["devices/{device_id}/data", "devices/{device_id}/data"], "topics[1]", "match the same topics");
        check(&["devices/{device_id}/data", "{device_id}/d1/data"], "topics[1]", "match the same topics");
    }

    #[test]
    fn which_kinds_need_json_can_be_said() {
        let spec = MqttIngressSpec {
            json: Some(vec!["data".to_owned()]),
            ..of_topics(&["d/{device_id}/data", "d/{device_id}/log"])
        };
        assert_eq!(checked(spec).unwrap().routes.iter().map(|r| r.needs_json).collect::<Vec<_>>(), [true, false]);
    }
}
