//! Which topic a record goes to, and what of it stands there.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use telemill_engine::context::CheckContext;
use telemill_engine::envelope;
use telemill_engine::record::{Kind, Record};

use super::message::is_bare;
use super::spec::check_topic;

/// What a record's partition is decided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RouterKey {
    /// The device id.
    #[default]
    DeviceId,
}

/// Which topic a record goes to, as an index into the router's topics.
#[derive(Clone, Debug)]
pub(crate) enum Route {
    /// All to the only one.
    Single,
    /// By kind; few enough to look through.
    ByKind(Arc<[(Kind, usize)]>),
}

impl Route {
    /// The index of the topic that records of a kind go to, if any.
    pub(crate) fn of(&self, kind: &Kind) -> Option<usize> {
        match self {
            Route::Single => Some(0),
            Route::ByKind(routes) => routes.iter().find(|(k, _)| k == kind).map(|(_, topic)| *topic),
        }
    }
}

/// The value of a record in the log; `buffer` is where a message is put together.
pub(crate) fn value_of<'a>(record: &'a Record, buffer: &'a mut Vec<u8>) -> &'a [u8] {
    match &record.message {
        Some(message) => message,
        None if is_bare(&record.kind) => &record.payload,
        None => {
            // The ingress has decided that a payload without bytes stands for none.
            let payload: &[u8] = if record.payload.is_empty() { b"null" } else { &record.payload };
            buffer.clear();
            envelope::write(buffer, &record.device, payload, record.received_at, record.id);
            buffer
        }
    }
}

/// The topics that `topic` or `routes` name, each once, and which kind goes where.
pub(crate) fn check_targets(
    topic: Option<String>,
    routes: Option<BTreeMap<String, String>>,
    cx: &mut CheckContext<'_>,
) -> Option<(Vec<String>, Route)> {
    match (topic, routes) {
        (Some(topic), None) => check_topic("topic", &topic, cx).then_some((vec![topic], Route::Single)),
        (None, Some(routes)) => check_routes(routes, cx),
        (Some(_), Some(_)) => {
            let hint = "keep `topic` for one topic, or `routes` for one a kind";
            cx.problem("", "kafka_router::two_targets", "both `topic` and `routes` are given", hint);
            None
        }
        (None, None) => {
            let hint = "write `topic: NAME` or `routes: { data: NAME }`";
            cx.problem("", "kafka_router::no_target", "neither `topic` nor `routes` is given", hint);
            None
        }
    }
}

/// The topics of routes, each once, and which kind goes where.
fn check_routes(routes: BTreeMap<String, String>, cx: &mut CheckContext<'_>) -> Option<(Vec<String>, Route)> {
    let before = cx.problems.len();
    if routes.is_empty() {
        cx.problem("routes", "kafka_router::no_target", "there are no routes", "write `data: NAME`, for one");
    }
    let mut topics: Vec<String> = Vec::new();
    let mut by_kind = Vec::new();
    for (kind, topic) in routes {
        let at = format!("routes.{kind}");
        if kind == Kind::Mark.as_str() {
            let message = "marks go to a topic of their own, which the engine names";
            cx.problem(at, "kafka_router::bad_kind", message, "remove this route");
            continue;
        }
        if !check_topic(&at, &topic, cx) {
            continue;
        }
        let known = topics.iter().position(|known| *known == topic);
        if let (None, Some(first)) = (known, topics.first()) {
            let (first, this) = (cx.topics.get(first), cx.topics.get(&topic));
            if first.partitions != this.partitions {
                let message = format!(
                    "topic `{topic}` has {} partitions, but `{}` has {}; a device must be in the same partition of both",
                    this.partitions, first.name, first.partitions
                );
                cx.problem(at, "kafka_router::partitions_differ", message, "give both the same number under `topics:`");
            }
        }
        let index = known.unwrap_or_else(|| {
            topics.push(topic);
            topics.len() - 1
        });
        by_kind.push((Kind::from(kind.as_str()), index));
    }
    (cx.problems.len() == before).then_some((topics, Route::ByKind(by_kind.into())))
}
