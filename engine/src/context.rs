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
use crate::ports::Ports;
use crate::position::Epoch;

/// A named connection of a topology file: addresses and credentials, shared by the stages that name it.
pub trait Connection: Sized + Send + Sync + 'static {
    /// The word that names its kind, such as `redis`.
    const KIND: &'static str;
    /// As written.
    type Spec: DeserializeOwned + JsonSchema;

    /// Proves a spec. Pure.
    fn check(spec: Self::Spec, cx: &mut CheckContext<'_>) -> Option<Self>;
}

/// All checked connections, by name, with their kind.
pub type Connections = BTreeMap<String, (&'static str, Arc<dyn Any + Send + Sync>)>;

/// The kind of a connection whose own problems are reported already.
pub(crate) const FLAWED: &str = "";

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
        let of_kind = |kind: &str| {
            let names: Vec<_> =
                self.connections.iter().filter(|(_, (k, _))| *k == kind).map(|(n, _)| format!("`{n}`")).collect();
            match names.as_slice() {
                [] => format!("declare one under `connections:`, such as `{name}: {{ {kind}: {{ … }} }}`"),
                names => format!("connections of kind `{kind}` here: {}", names.join(", ")),
            }
        };
        match self.connections.get(name) {
            None => {
                let hint = of_kind(C::KIND);
                self.problem(at, "topology::unknown_connection", format!("there is no connection `{name}`"), &hint);
                None
            }
            Some((kind, _)) if *kind == FLAWED => None,
            Some((kind, any)) => match any.clone().downcast::<C>() {
                Ok(connection) => Some(connection),
                Err(_) => {
                    let hint = of_kind(C::KIND);
                    let message = format!("connection `{name}` is of kind `{kind}`, but `{}` is needed here", C::KIND);
                    self.problem(at, "topology::wrong_connection", message, &hint);
                    None
                }
            },
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
}
