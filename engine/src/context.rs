//! What a component is given: while it is checked, and when it is built.

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::checkpoint::StateStore;
use crate::clock::Clock;
use crate::peers::Peers;
use crate::ports::Ports;
use crate::position::Epoch;
use crate::registry::{CommandSink, CommandSinks, CommandsSpec};

/// A named connection of a topology file: addresses and credentials, shared by the stages that name it.
pub trait Connection: Sized + Send + Sync + 'static {
    /// The word that names its kind, such as `redis`.
    const KIND: &'static str;
    /// Whether it leads to a log, which has topics.
    const HAS_TOPICS: bool = false;
    /// As written.
    type Spec: DeserializeOwned + JsonSchema;

    /// Proves a spec. Pure.
    fn check(spec: Self::Spec, cx: &mut CheckContext<'_>) -> Option<Self>;
}

/// All declared connections, by name, and what else there is for their kinds.
#[derive(Clone, Default)]
pub struct Connections {
    declared: BTreeMap<String, Declared>,
    command_sinks: CommandSinks,
}

impl Connections {
    /// No connections.
    pub fn new() -> Self {
        Connections::default()
    }

    /// No connections yet; commands to devices can go over those that there is a sink for.
    pub fn with_command_sinks(command_sinks: CommandSinks) -> Self {
        Connections { declared: BTreeMap::new(), command_sinks }
    }

    /// Adds a connection that was found good.
    pub fn insert<C: Connection>(&mut self, name: &str, connection: Arc<C>) {
        self.declare(name, Declared::new(connection));
    }

    /// These connections and one more.
    pub fn with<C: Connection>(mut self, name: &str, connection: Arc<C>) -> Self {
        self.insert(name, connection);
        self
    }

    pub(crate) fn declare(&mut self, name: &str, declared: Declared) {
        self.declared.insert(name.to_owned(), declared);
    }

    /// The connection of this name.
    pub fn get(&self, name: &str) -> Option<&Declared> {
        self.declared.get(name)
    }

    /// The connection of this name, where it is of this kind.
    pub fn typed<C: Connection>(&self, name: &str) -> Option<Arc<C>> {
        self.get(name)?.value.clone()?.downcast().ok()
    }

    /// Those of this kind.
    pub fn all<C: Connection>(&self) -> Vec<Arc<C>> {
        self.declared.keys().filter_map(|name| self.typed(name)).collect()
    }

    /// Whether the connection of this name has problems of its own, so that nothing more is to be said of it.
    fn is_flawed(&self, name: &str) -> bool {
        self.get(name).is_some_and(|declared| declared.value.is_none())
    }

    /// The names of those of one of these kinds.
    pub(crate) fn of_kinds(&self, kinds: &[&str]) -> Vec<&str> {
        let fitting = self.declared.iter().filter(|(_, declared)| kinds.contains(&declared.kind));
        fitting.map(|(name, _)| name.as_str()).collect()
    }
}

/// A stage names a connection that is not declared.
pub(crate) const UNKNOWN_CONNECTION: &str = "topology::unknown_connection";
/// A stage names a connection of a kind that it cannot use.
pub(crate) const WRONG_CONNECTION: &str = "topology::wrong_connection";

/// A connection that the topology declares.
#[derive(Clone)]
pub struct Declared {
    /// The word that names its kind; empty when not even that is known.
    pub kind: &'static str,
    /// None: it is not good, and its problems are reported already.
    value: Option<Arc<dyn Any + Send + Sync>>,
}

impl Declared {
    /// A connection that was found good.
    pub fn new<C: Connection>(connection: Arc<C>) -> Self {
        Declared { kind: C::KIND, value: Some(connection) }
    }

    /// A connection whose own problems are reported already.
    pub(crate) fn flawed(kind: &'static str) -> Self {
        Declared { kind, value: None }
    }
}

/// A topic of the log as the topology declares it, defaults applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDecl {
    /// Its name.
    pub name: String,
    /// The number of partitions. Never changed once the topic exists, because order would break.
    pub partitions: i32,
    /// The number of replicas.
    pub replication: i32,
    /// `min.insync.replicas`, where declared.
    pub min_insync_replicas: Option<i32>,
    /// How long records are kept, where declared.
    pub retention: Option<Duration>,
    /// How many bytes of records are kept, in all partitions together, where declared.
    pub retention_bytes: Option<u64>,
    /// The largest record, in bytes, where declared.
    pub max_message_bytes: Option<u64>,
}

/// The topics of a topology: those declared one by one, and the defaults for all others.
#[derive(Clone, Debug)]
pub struct Topics {
    /// The defaults; the name is empty.
    pub defaults: TopicDecl,
    /// Declared one by one.
    pub declared: BTreeMap<String, TopicDecl>,
}

impl Topics {
    /// The declaration of a topic.
    pub fn get(&self, name: &str) -> TopicDecl {
        match self.declared.get(name) {
            Some(declared) => declared.clone(),
            None => TopicDecl { name: name.to_owned(), ..self.defaults.clone() },
        }
    }
}

impl Default for Topics {
    fn default() -> Self {
        let defaults = TopicDecl {
            name: String::new(),
            partitions: 12,
            replication: 1,
            min_insync_replicas: None,
            retention: None,
            retention_bytes: None,
            max_message_bytes: None,
        };
        Topics { defaults, declared: BTreeMap::new() }
    }
}

/// A problem at a place in the spec being checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldProblem {
    /// The place relative to the spec, such as `rules[1].expr`; empty for the spec itself.
    pub at: String,
    /// Bytes inside the string at that place, where the problem is smaller than the string.
    pub range: Option<Range<usize>>,
    /// A stable code, such as `topology::unknown_connection`.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// What a pure check may know, and where it reports to.
pub struct CheckContext<'a> {
    /// The name of the stage or connection being checked.
    pub name: &'a str,
    /// The stages that feed it, by name. Empty for connections.
    pub inputs: &'a [String],
    /// The topology's connections.
    pub connections: &'a Connections,
    /// The topology's topics.
    pub topics: &'a Topics,
    /// Where problems go.
    pub problems: &'a mut Vec<FieldProblem>,
}

impl CheckContext<'_> {
    /// Reports a problem at a place in the spec.
    pub fn problem(&mut self, at: impl Into<String>, code: &'static str, message: impl Into<String>, hint: &str) {
        self.problems.push(FieldProblem {
            at: at.into(),
            range: None,
            code,
            message: message.into(),
            hint: (!hint.is_empty()).then(|| hint.to_owned()),
        });
    }

    /// The connection of kind `C` that the spec names at `at`; a located problem when there is none.
    pub fn connection<C: Connection>(&mut self, at: &str, name: &str) -> Option<Arc<C>> {
        let connection = self.connections.typed::<C>(name);
        if connection.is_none() && !self.connections.is_flawed(name) {
            self.no_connection(at, name, &[C::KIND]);
        }
        connection
    }

    /// The sink that brings commands to devices over the connection that `spec` names; `at` is the spec's place.
    pub fn command_sink(&mut self, at: &str, spec: CommandsSpec) -> Option<CommandSink> {
        let sinks = &self.connections.command_sinks;
        let declared = self.connections.get(&spec.connection);
        let Some(check) = declared.and_then(|declared| sinks.get(declared.kind)) else {
            if !self.connections.is_flawed(&spec.connection) {
                let kinds: Vec<_> = sinks.kinds().collect();
                self.no_connection(&format!("{at}.connection"), &spec.connection, &kinds);
            }
            return None;
        };
        let before = self.problems.len();
        let sink = check(spec, self);
        for problem in &mut self.problems[before..] {
            problem.at = format!("{at}.{}", problem.at);
        }
        sink
    }

    /// Reports that `name` is no connection of one of these kinds.
    pub(crate) fn no_connection(&mut self, at: &str, name: &str, kinds: &[&str]) {
        let mut named: Vec<_> = kinds.iter().map(|kind| format!("`{kind}`")).collect();
        named.sort_unstable();
        let needed = named.join(" or ");
        let fitting = self.connections.of_kinds(kinds);
        let hint = match (fitting.as_slice(), kinds) {
            ([], [kind, ..]) => format!("declare one under `connections:`, such as `{name}: {{ {kind}: {{ … }} }}`"),
            ([], []) => "no kind of connection can be named here".to_owned(),
            (names, _) => {
                let names = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
                format!("connections of kind {needed} here: {names}")
            }
        };
        match self.connections.get(name) {
            None => {
                self.problem(at, UNKNOWN_CONNECTION, format!("there is no connection `{name}`"), &hint);
            }
            Some(Declared { kind, .. }) => {
                let message = format!("connection `{name}` is of kind `{kind}`, but {needed} is needed here");
                self.problem(at, WRONG_CONNECTION, message, &hint);
            }
        }
    }
}

/// What a component is built with.
#[derive(Clone)]
pub struct BuildContext {
    /// The topology's name.
    pub topology: Arc<str>,
    /// The stage's name.
    pub stage: Arc<str>,
    /// Time.
    pub clock: Clock,
    /// The owner's running number; every write to a store carries it.
    pub epoch: Epoch,
    /// The topology's topics.
    pub topics: Arc<Topics>,
    /// The topic that carries the marks, for the stages that emit, carry or follow them.
    pub marks: Option<TopicDecl>,
    /// Where the topology keeps claims, slots and checkpoints.
    pub store: Arc<dyn StateStore>,
    /// What the stages offer each other and the API.
    pub ports: Ports,
    /// The sinks downstream of a source, dead letters included: their [`crate::ports::Recall`] tells what they
    /// already have.
    pub downstream: Arc<[Arc<str>]>,
    /// Where the component says that a broker or store that it talks to is gone, and when it is back: the stage then
    /// counts as waiting.
    pub peers: Peers,
}
