//! Every kind of component and connection that a topology may name.
//!
//! The registry is filled in one place (`telemill_actors::register_all`) and read by the topology layer: to decode a
//! spec of the right type, to check it, to print its JSON Schema, and to make the component at start and at restart.

mod commands;
mod kinds;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::{Schema, SchemaGenerator};

use crate::checkpoint::StateStore;
use crate::context::{BuildContext, CheckContext, Connection, Declared};
use crate::erased::{self, DynProcessor, DynSink, DynSource};
use crate::keyed::Keyed;
use crate::runtime::{KeyedHost, TimeMode};
use crate::sink::Sink;
use crate::source::Source;
use crate::stage::{BuildError, Component, Outlet, Processor};
use crate::topology::{Node, Problems, decode};

pub use commands::{CommandSink, CommandSinks, CommandsSpec};
pub use kinds::Kinds;

/// What a stage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// It reads from the outside and has no inputs.
    Source,
    /// It turns records into records.
    Processor,
    /// It keeps state per device.
    Keyed,
    /// It writes to the outside and has no outlets.
    Sink,
}

/// What a checked component says of itself, for the plan.
#[derive(Clone, Debug, Default)]
pub struct Description {
    /// The log topics it reads, the leading one first.
    pub reads: Vec<String>,
    /// The log topics it writes.
    pub writes: Vec<String>,
    /// The largest message that a source lets in, in bytes, where it has such a bound.
    pub lets_in: Option<u64>,
    /// The largest message that a sink takes, in bytes, where it has such a bound.
    pub takes: Option<u64>,
    /// Its part in carrying time through the log.
    pub marks: MarksRole,
    /// Sinks that belong to it, fed by one of its outlets.
    pub companions: Vec<Companion>,
    /// The outlet whose records are its journal, if it has one: after a restart they are read back from the sink that
    /// takes them and given to `step` as [`crate::keyed::Input::Journal`].
    pub journal: Option<Outlet>,
    /// What moves the time of the shards behind it, for a source that does not follow marks.
    pub time: Option<TimeMode>,
    /// What bounds the sessions of the shards it lives in, where it says so. At most one stage of a shard does.
    pub sessions: Option<SessionLimits>,
}

/// What bounds the sessions of a topology.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// A device that was not heard of for this long leaves memory, once no stage of the shard waits for anything.
    pub passivate_after: Duration,
    /// The most devices to know, in memory and outside, each partition its share of them: for one more, the one that was
    /// silent longest is forgotten.
    pub max_sessions: usize,
    /// A device that was not heard of for this long is forgotten; none is for that, where there is no such time.
    pub forget_after: Option<Duration>,
}

impl Default for SessionLimits {
    fn default() -> Self {
        SessionLimits { passivate_after: Duration::from_secs(15 * 60), max_sessions: 1_000_000, forget_after: None }
    }
}

/// A stage's part in carrying time through the log (`docs/formats.md`, "Time").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MarksRole {
    /// None.
    #[default]
    None,
    /// It proves that its sessions are alive and emits a mark for it every second.
    Emits,
    /// It writes the marks that reach it to the marks' topic.
    Carries,
    /// It reads the marks' topic, unless its topology says otherwise.
    Follows,
}

/// A sink that belongs to a component: made with it, named after it, fed by one of its outlets.
#[derive(Clone)]
pub struct Companion {
    /// Its name behind the stage's: `sessions.commands`.
    pub name: &'static str,
    /// The outlet that feeds it.
    pub outlet: Outlet,
    /// Its kind.
    pub kind: &'static str,
    /// Makes it.
    pub factory: Arc<dyn Factory<Box<dyn DynSink>>>,
}

impl Companion {
    /// A companion that takes commands to devices.
    pub fn commands(name: &'static str, outlet: Outlet, sink: CommandSink) -> Self {
        Companion { name, outlet, kind: sink.kind, factory: sink.factory }
    }
}

impl std::fmt::Debug for Companion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Companion({} on {:?})", self.name, self.outlet)
    }
}

/// A checked component that can be built, again and again.
#[async_trait]
pub trait Factory<T>: Send + Sync {
    /// Builds it.
    async fn build(&self, cx: &BuildContext) -> Result<T, BuildError>;
}

/// A checked component of any role.
#[derive(Clone)]
pub enum StageFactory {
    /// A source.
    Source(Arc<dyn Factory<DynSource>>),
    /// A processor.
    Processor(Arc<dyn Factory<Box<dyn DynProcessor>>>),
    /// A keyed stage: the build gives the host of its sessions for one shard.
    Keyed(Arc<dyn Factory<Box<dyn KeyedHost>>>),
    /// A sink.
    Sink(Arc<dyn Factory<Box<dyn DynSink>>>),
}

impl StageFactory {
    /// What the stage is.
    pub fn role(&self) -> Role {
        match self {
            StageFactory::Source(_) => Role::Source,
            StageFactory::Processor(_) => Role::Processor,
            StageFactory::Keyed(_) => Role::Keyed,
            StageFactory::Sink(_) => Role::Sink,
        }
    }
}

impl std::fmt::Debug for StageFactory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StageFactory({:?})", self.role())
    }
}

struct SourceFactory<C: Component>(C::Checked);
struct ProcessorFactory<C: Component>(C::Checked);
struct KeyedFactory<C: Component>(C::Checked);
struct SinkFactory<C: Component>(C::Checked);

#[async_trait]
impl<C: Component + Source> Factory<DynSource> for SourceFactory<C> {
    async fn build(&self, cx: &BuildContext) -> Result<DynSource, BuildError> {
        C::build(&self.0, cx).await.map(erased::split)
    }
}

#[async_trait]
impl<C: Component + Processor> Factory<Box<dyn DynProcessor>> for ProcessorFactory<C> {
    async fn build(&self, cx: &BuildContext) -> Result<Box<dyn DynProcessor>, BuildError> {
        Ok(Box::new(C::build(&self.0, cx).await?))
    }
}

#[async_trait]
impl<C: Component + Keyed> Factory<Box<dyn KeyedHost>> for KeyedFactory<C> {
    async fn build(&self, cx: &BuildContext) -> Result<Box<dyn KeyedHost>, BuildError> {
        Ok(crate::runtime::host(C::build(&self.0, cx).await?))
    }
}

#[async_trait]
impl<C: Component + Sink> Factory<Box<dyn DynSink>> for SinkFactory<C> {
    async fn build(&self, cx: &BuildContext) -> Result<Box<dyn DynSink>, BuildError> {
        Ok(Box::new(C::build(&self.0, cx).await?))
    }
}

/// A component that is a place for state rather than a stage: what `checkpoints:` names.
pub trait StoreComponent: Component {
    /// The store it is.
    fn into_store(self) -> Arc<dyn StateStore>;
}

struct StoreFactory<C: Component>(C::Checked);

#[async_trait]
impl<C: StoreComponent> Factory<Arc<dyn StateStore>> for StoreFactory<C> {
    async fn build(&self, cx: &BuildContext) -> Result<Arc<dyn StateStore>, BuildError> {
        C::build(&self.0, cx).await.map(C::into_store)
    }
}

/// A checked component and what it says of itself.
pub struct CheckedStage<F> {
    /// Makes it.
    pub factory: F,
    /// What it says of itself.
    pub description: Description,
}

type Check<T> = Box<dyn Fn(&Node, &mut Problems, &mut CheckContext<'_>) -> Option<T> + Send + Sync>;
/// Makes a state store.
pub type MakeStore = Arc<dyn Factory<Arc<dyn StateStore>>>;
type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// One implementation of a kind of component.
pub struct Entry<T> {
    /// The word that names it.
    pub kind: &'static str,
    /// The kind of connection it is for; empty where it needs none.
    pub connection: &'static str,
    /// Its outlets besides the main one.
    pub outlets: &'static [&'static str],
    /// The role, for stages.
    pub role: Role,
    /// The schema of its spec.
    pub schema: SchemaOf,
    /// Decodes and checks a spec.
    pub check: Check<T>,
}

/// All kinds, by name.
#[derive(Default)]
pub struct Registry {
    /// Stages.
    pub stages: Kinds<CheckedStage<StageFactory>>,
    /// What `dead_letters:` may name.
    pub dead_letters: Kinds<CheckedStage<StageFactory>>,
    /// What `checkpoints:` may name.
    pub stores: Kinds<MakeStore>,
    /// Connections.
    pub connections: Kinds<Declared>,
    /// The kinds of connection that lead to a log.
    pub logs: BTreeSet<&'static str>,
    /// What brings commands to devices.
    pub command_sinks: CommandSinks,
}

impl Registry {
    /// No kinds.
    pub fn new() -> Self {
        Registry::default()
    }

    /// Adds a kind of source.
    pub fn source<C: Component + Source>(&mut self) -> &mut Self {
        let make = |checked| StageFactory::Source(Arc::new(SourceFactory::<C>(checked)));
        self.stages.insert(stage_entry::<C>(Role::Source, make));
        self
    }

    /// Adds a kind of processor.
    pub fn processor<C: Component + Processor>(&mut self) -> &mut Self {
        let make = |checked| StageFactory::Processor(Arc::new(ProcessorFactory::<C>(checked)));
        self.stages.insert(stage_entry::<C>(Role::Processor, make));
        self
    }

    /// Adds a kind of keyed stage.
    pub fn keyed<C: Component + Keyed>(&mut self) -> &mut Self {
        let make = |checked| StageFactory::Keyed(Arc::new(KeyedFactory::<C>(checked)));
        self.stages.insert(stage_entry::<C>(Role::Keyed, make));
        self
    }

    /// Adds a kind of sink.
    pub fn sink<C: Component + Sink>(&mut self) -> &mut Self {
        self.stages.insert(sink_entry::<C>());
        self
    }

    /// Adds a sink that `dead_letters:` may name.
    pub fn dead_letters<C: Component + Sink>(&mut self) -> &mut Self {
        self.dead_letters.insert(sink_entry::<C>());
        self
    }

    /// Adds a store that `checkpoints:` may name.
    pub fn store<C: StoreComponent>(&mut self) -> &mut Self {
        let check = |node: &Node, problems: &mut Problems, cx: &mut CheckContext<'_>| {
            let spec = decode::<C::Spec>(node, problems)?;
            let checked = C::check(spec, cx)?;
            Some(Arc::new(StoreFactory::<C>(checked)) as MakeStore)
        };
        let entry = Entry {
            kind: C::KIND,
            connection: C::CONNECTION,
            outlets: &[],
            role: Role::Sink,
            schema: |generator| generator.subschema_for::<C::Spec>(),
            check: Box::new(check),
        };
        self.stores.insert(entry);
        self
    }

    /// Adds a sink that brings commands to devices over its kind of connection.
    pub fn command_sink<C: Component<Spec = CommandsSpec> + Sink>(&mut self) -> &mut Self {
        self.command_sinks.add::<C>();
        self
    }

    /// Adds a kind of connection.
    pub fn connection<C: Connection>(&mut self) -> &mut Self {
        let check = |node: &Node, problems: &mut Problems, cx: &mut CheckContext<'_>| {
            let spec = decode::<C::Spec>(node, problems)?;
            C::check(spec, cx).map(|connection| Declared::new(Arc::new(connection)))
        };
        let entry = Entry {
            kind: C::KIND,
            connection: "",
            outlets: &[],
            role: Role::Source,
            schema: |generator| generator.subschema_for::<C::Spec>(),
            check: Box::new(check),
        };
        self.connections.insert(entry);
        if C::HAS_TOPICS {
            self.logs.insert(C::KIND);
        }
        self
    }
}

fn sink_entry<C: Component + Sink>() -> Entry<CheckedStage<StageFactory>> {
    stage_entry::<C>(Role::Sink, |checked| StageFactory::Sink(Arc::new(SinkFactory::<C>(checked))))
}

fn stage_entry<C: Component>(
    role: Role,
    make: impl Fn(C::Checked) -> StageFactory + Send + Sync + 'static,
) -> Entry<CheckedStage<StageFactory>> {
    let check = move |node: &Node, problems: &mut Problems, cx: &mut CheckContext<'_>| {
        let spec = decode::<C::Spec>(node, problems)?;
        let checked = C::check(spec, cx)?;
        let description = C::describe(&checked);
        Some(CheckedStage { factory: make(checked), description })
    };
    Entry {
        kind: C::KIND,
        connection: C::CONNECTION,
        outlets: C::OUTLETS,
        role,
        schema: |generator| generator.subschema_for::<C::Spec>(),
        check: Box::new(check),
    }
}
