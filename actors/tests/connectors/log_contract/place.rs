//! A log of some kind, with topics of the test's own, and its components built on it.

use std::sync::Arc;

use serde_json::{Value, json};
use telemill_engine::clock::Clock;
use telemill_engine::context::{BuildContext, CheckContext, Connections, TopicDecl, Topics};
use telemill_engine::peers::Peers;
use telemill_engine::ports::Ports;
use telemill_engine::position::Epoch;
use telemill_engine::sink::Sink;
use telemill_engine::source::Source;
use telemill_engine::stage::{BuildError, Component};
use telemill_services::unique_name;

use super::drive::Driven;
use crate::kafka_support::NoStore;

/// A kind of log.
pub trait Kind: Sized + Send + Sync {
    type Router: Component + Sink;
    type Source: Component + Source;
    type DeadLetters: Component + Sink;

    /// A log that is there.
    fn new() -> Self;
    /// The connection to it, under the name `log`.
    fn connections(&self) -> Connections;
    /// Makes everything in a partition go that is in it now, as retention would.
    async fn remove_all(place: &Place<Self>, topic: &str, partition: i32);
}

/// A log, and what is declared and offered on it.
pub struct Place<K> {
    pub kind: K,
    pub topics: Topics,
    pub marks: Option<String>,
    pub ports: Ports,
    /// Part of the names of groups, which tests on one log must not share.
    pub run: String,
}

impl<K: Kind> Place<K> {
    pub fn new() -> Self {
        Place::on(K::new())
    }

    pub fn on(kind: K) -> Self {
        Place { kind, topics: Topics::default(), marks: None, ports: Ports::default(), run: unique_name("run") }
    }

    /// Declares a topic that no other test has, and gives its name.
    pub fn topic(&mut self, prefix: &str, partitions: i32) -> String {
        self.declare(unique_name(prefix), partitions)
    }

    pub fn declare(&mut self, name: String, partitions: i32) -> String {
        let topic = TopicDecl { name: name.clone(), partitions, ..self.topics.defaults.clone() };
        self.topics.declared.insert(name.clone(), topic);
        name
    }

    /// A router of one topic.
    pub async fn router_to(&self, topic: &str) -> K::Router {
        self.router(json!({ "connection": "log", "topic": topic })).await
    }

    pub async fn router(&self, spec: Value) -> K::Router {
        self.build::<K::Router>(&self.check::<K::Router>(spec)).await.unwrap()
    }

    pub async fn source(&self, topics: &[&str], group: &str) -> Driven<K> {
        self.try_source(topics, group, "fail").await.unwrap()
    }

    pub async fn try_source(&self, topics: &[&str], group: &str, resume: &str) -> Result<Driven<K>, BuildError> {
        let group = format!("{group}-{}", self.run);
        let spec = json!({ "connection": "log", "topics": topics, "group": group, "resume": resume });
        let source = self.build::<K::Source>(&self.check::<K::Source>(spec)).await?;
        Ok(Driven::new(source))
    }

    pub fn check<C: Component>(&self, spec: Value) -> C::Checked {
        let connections = self.kind.connections();
        let spec: C::Spec = serde_json::from_value(spec).unwrap();
        let mut problems = Vec::new();
        let topics = &self.topics;
        let mut cx =
            CheckContext { name: "stage", inputs: &[], connections: &connections, topics, problems: &mut problems };
        let checked = C::check(spec, &mut cx);
        checked.unwrap_or_else(|| panic!("{problems:?}"))
    }

    pub async fn build<C: Component>(&self, checked: &C::Checked) -> Result<C, BuildError> {
        let cx = BuildContext {
            topology: "test".into(),
            stage: "stage".into(),
            clock: Clock::system(),
            epoch: Epoch(1),
            topics: Arc::new(self.topics.clone()),
            marks: self.marks.as_ref().map(|name| self.topics.get(name)),
            store: Arc::new(NoStore),
            ports: self.ports.clone(),
            peers: Peers::default(),
            downstream: Arc::new([]),
        };
        C::build(checked, &cx).await
    }
}
