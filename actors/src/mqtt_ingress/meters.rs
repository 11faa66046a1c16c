//! What a slot counts.

use metrics::{Counter, Label, counter};
use telemill_engine::context::BuildContext;

/// The counters of one slot.
pub(super) struct Meters {
    /// A session that the broker no longer had: what was queued in it is gone.
    pub(super) sessions_lost: Counter,
    /// Redelivered messages that had already been taken.
    pub(super) redelivered_recognised: Counter,
    /// Redelivered messages that were produced, again or for the first time.
    pub(super) redelivered_produced: Counter,
    /// Messages acknowledged unread because they were retained.
    pub(super) ignored_retained: Counter,
    /// Messages acknowledged unread because no template has their topic any more.
    pub(super) ignored_unmatched: Counter,
    /// Connections made.
    pub(super) connects: Counter,
}

impl Meters {
    pub(super) fn new(cx: &BuildContext, kind: &'static str) -> Self {
        let counter = |name: &'static str, label: Option<(&'static str, &'static str)>| {
            let mut labels = vec![
                Label::new("topology", cx.topology.to_string()),
                Label::new("stage", cx.stage.to_string()),
                Label::new("kind", kind),
            ];
            labels.extend(label.map(|(key, value)| Label::new(key, value)));
            counter!(name, labels)
        };
        let redeliveries = |outcome| counter("telemill_mqtt_redeliveries_total", Some(("outcome", outcome)));
        let ignored = |reason| counter("telemill_mqtt_ignored_total", Some(("reason", reason)));
        Meters {
            sessions_lost: counter("telemill_mqtt_sessions_lost_total", None),
            redelivered_recognised: redeliveries("recognised"),
            redelivered_produced: redeliveries("produced"),
            ignored_retained: ignored("retained"),
            ignored_unmatched: ignored("unmatched_topic"),
            connects: counter("telemill_mqtt_connects_total", None),
        }
    }
}
