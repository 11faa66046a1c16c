//! `mqtt_ingress` from a broker, proven.

use std::sync::Arc;

use telemill_engine::context::CheckContext;

use crate::ingress::payload::Limits;
use crate::ingress::{IngressChecked, Route, check_spec, packet_limit};
pub use crate::ingress::{MqttIngressSpec, Retained};
use crate::mqtt::MqttConnection;

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
        packet_limit(self.limits)
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
    let IngressChecked { routes, limits, accept_retained } = check_spec(&spec, cx);
    let checked = MqttIngressChecked { connection: connection?, routes, limits, accept_retained };
    (cx.problems.len() == before).then_some(checked)
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
