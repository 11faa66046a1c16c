//! What the endpoint counts.

use metrics::{Counter, Gauge, Label, counter, gauge};
use telemill_engine::context::BuildContext;

use super::wire::Code;

/// The counters of one endpoint.
#[derive(Clone)]
pub(crate) struct Meters {
    labels: [Label; 3],
    pub(crate) connections: Gauge,
    pub(crate) sessions: Gauge,
    pub(crate) connects: Counter,
    pub(crate) received_qos0: Counter,
    pub(crate) received_qos1: Counter,
    /// Messages that were marked as sent before. They are produced like any other.
    pub(crate) redelivered: Counter,
    /// Messages at QoS 0 that were dropped because too much waits.
    pub(crate) flooded: Counter,
    /// Milliseconds for which connections were not read, all of them together.
    pub(crate) paused_ms: Counter,
}

impl Meters {
    pub(crate) fn new(cx: &BuildContext, kind: &'static str) -> Self {
        let labels = [
            Label::new("topology", cx.topology.to_string()),
            Label::new("stage", cx.stage.to_string()),
            Label::new("kind", kind),
        ];
        let with = |key: &'static str, value: &'static str| with(&labels, key, value);
        Meters {
            connections: gauge!("telemill_mqtt_connections", labels.to_vec()),
            sessions: gauge!("telemill_mqtt_sessions", labels.to_vec()),
            connects: counter!("telemill_mqtt_connects_total", labels.to_vec()),
            received_qos0: counter!("telemill_mqtt_received_total", with("qos", "0")),
            received_qos1: counter!("telemill_mqtt_received_total", with("qos", "1")),
            redelivered: counter!("telemill_mqtt_redeliveries_total", with("outcome", "produced")),
            flooded: counter!("telemill_mqtt_rejected_total", with("reason", "qos0_flooded")),
            paused_ms: counter!("telemill_mqtt_paused_milliseconds_total", labels.to_vec()),
            labels,
        }
    }

    /// A message that was not taken.
    pub(crate) fn rejected(&self, reason: &'static str) -> Counter {
        counter!("telemill_mqtt_rejected_total", with(&self.labels, "reason", reason))
    }

    /// A connection that was not let in.
    pub(crate) fn refused(&self, code: Code) -> Counter {
        counter!("telemill_mqtt_refused_total", with(&self.labels, "reason", code.word()))
    }

    /// A connection that ended, and why.
    pub(crate) fn disconnected(&self, reason: &'static str) -> Counter {
        counter!("telemill_mqtt_disconnects_total", with(&self.labels, "reason", reason))
    }
}

fn with(labels: &[Label; 3], key: &'static str, value: &'static str) -> Vec<Label> {
    let mut labels = labels.to_vec();
    labels.push(Label::new(key, value));
    labels
}
