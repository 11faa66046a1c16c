//! Specs as a topology has them, for the tests of this layer.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{ByteSize, Document, Entries, HumanDuration, Located, Node, Problems, Secret, Source};

#[derive(Debug, Deserialize)]
#[allow(dead_code)]
pub(super) struct Topology {
    pub version: u32,
    pub name: Located<String>,
    pub connections: Entries<Connection>,
    #[serde(default)]
    pub stages: Entries<Node>,
    #[serde(default)]
    pub restart: Restart,
    pub dead_letters: Option<Located<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(dead_code)]
pub(super) enum Connection {
    Mqtt(Mqtt),
    Kafka { brokers: Vec<String> },
    Redis(Redis),
    Memory,
}

#[derive(Debug, Deserialize)]
#[allow(dead_code)]
pub(super) struct Mqtt {
    pub url: String,
    #[serde(default)]
    pub packet_ids: PacketIds,
    pub max_inflight: u16,
    pub keep_alive: Option<HumanDuration>,
    pub password: Option<Secret>,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(super) enum PacketIds {
    #[default]
    Cyclic,
    Arbitrary,
}

#[derive(Debug, Deserialize)]
#[allow(dead_code)]
pub(super) struct Redis {
    pub url: String,
    pub max_value: Option<ByteSize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
#[allow(dead_code)]
pub(super) struct Restart {
    pub max_restarts: u32,
    pub within: HumanDuration,
    pub jitter: bool,
}

#[derive(Debug, Deserialize)]
#[allow(dead_code)]
pub(super) struct KafkaSource {
    pub connection: Located<String>,
    pub topics: Vec<Located<String>>,
    pub group: String,
    #[serde(default)]
    pub routes: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[allow(dead_code)]
pub(super) struct Rule {
    pub alert: String,
    #[serde(rename = "for")]
    pub for_: Option<HumanDuration>,
    pub threshold: f64,
}

pub(super) fn environment(name: &str) -> Option<String> {
    match name {
        "MQTT_URL" => Some("mqtt://admin:hunter2@broker:1883".to_owned()),
        "PERIOD" => Some("sixty seconds".to_owned()),
        "KIND" => Some("topsecret".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

/// The document and the problems so far.
#[track_caller]
pub(super) fn document(text: &str) -> (Document, Problems) {
    let mut problems = Problems::new();
    let document = Document::parse(&Source::new("t.yaml", text), &environment, &mut problems);
    (document.unwrap_or_else(|| panic!("does not parse: {problems:?}")), problems)
}

/// What is wrong with a text as a `T`, one `line:column code path: message (hint)` a line; empty when nothing is.
#[track_caller]
pub(super) fn problems_of<T: serde::de::DeserializeOwned>(text: &str) -> String {
    let (document, mut problems) = document(text);
    let decoded = document.decode::<T>(&mut problems);
    assert!(decoded.is_none() || problems.is_empty(), "a value in spite of {problems:?}");
    brief(&document.diagnostics(problems))
}

/// One `line:column code path: message (hint)` a line.
pub(super) fn brief(diagnostics: &super::Diagnostics) -> String {
    let lines = diagnostics.iter().map(|problem| {
        let position = diagnostics.position(problem);
        let code = problem.code().trim_start_matches("topology::");
        let hint = problem.hint_text().map(|hint| format!(" ({hint})")).unwrap_or_default();
        format!("{}:{} {code} {}: {}{hint}\n", position.line, position.column, problem.path(), problem.message())
    });
    lines.collect()
}
