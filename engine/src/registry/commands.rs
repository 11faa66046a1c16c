//! Sinks that bring commands to devices.
//!
//! A stage that has commands for devices names a connection and a topic, and knows no protocol. Which sink publishes them
//! is decided by the kind of the connection.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::context::CheckContext;
use crate::erased::DynSink;
use crate::sink::Sink;
use crate::stage::Component;

use super::{Factory, SinkFactory};

/// Where commands to devices are published.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandsSpec {
    /// The connection that devices are reached by.
    pub connection: String,
    /// The topic of a device's commands, such as `devices/{device_id}/commands`.
    pub topic: String,
}

/// A checked sink for commands.
#[derive(Clone)]
pub struct CommandSink {
    pub(super) kind: &'static str,
    pub(super) factory: Arc<dyn Factory<Box<dyn DynSink>>>,
}

impl std::fmt::Debug for CommandSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CommandSink({})", self.kind)
    }
}

/// Proves a spec. Pure; problems are at their place within the spec.
pub(crate) type CheckCommands = fn(CommandsSpec, &mut CheckContext<'_>) -> Option<CommandSink>;

/// The sinks that bring commands to devices, by the kind of connection they are for.
#[derive(Clone, Default)]
pub struct CommandSinks(BTreeMap<&'static str, CheckCommands>);

impl CommandSinks {
    /// Adds the sink for a kind of connection.
    pub fn add<C: Component<Spec = CommandsSpec> + Sink>(&mut self) {
        let check: CheckCommands = |spec, cx| {
            let checked = C::check(spec, cx)?;
            Some(CommandSink { kind: C::KIND, factory: Arc::new(SinkFactory::<C>(checked)) })
        };
        self.0.insert(C::CONNECTION, check);
    }

    /// The kinds of connection there is a sink for.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = &'static str> {
        self.0.keys().copied()
    }

    /// The sink for a kind of connection.
    pub(crate) fn get(&self, connection: &str) -> Option<CheckCommands> {
        self.0.get(connection).copied()
    }
}
