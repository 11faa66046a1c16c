//! The keyed stages that hang on one source: what a shard hosts.

use std::sync::Arc;
use std::time::Duration;

use crate::registry::Factory;
use crate::runtime::cell::StageCommon;
use crate::runtime::host::KeyedHost;
use crate::runtime::outlet::Target;
use crate::stage::Outlet;

use super::clock::TimeMode;

/// A keyed stage in a group.
#[derive(Clone)]
pub struct GroupStage {
    /// What every stage has.
    pub common: StageCommon,
    /// Makes the stage's host for one shard.
    pub factory: Arc<dyn Factory<Box<dyn KeyedHost>>>,
    /// The outlets, the main one first: name, and what outside the group is wired to each.
    pub outlets: Vec<(String, Vec<Target>)>,
    /// Keyed stages of the same group fed by this one: outlet and index in the group.
    pub inner: Vec<(Outlet, usize)>,
    /// The sink stage that keeps this stage's journal.
    pub journal: Option<Arc<str>>,
}

/// The keyed stages that hang on one source, in the order of their wiring.
#[derive(Clone)]
pub struct Group {
    /// The source's name.
    pub source: Arc<str>,
    /// The stages.
    pub stages: Vec<GroupStage>,
    /// Those fed by the source itself.
    pub entry: Vec<usize>,
    /// What moves the shards' time.
    pub time: TimeMode,
    /// What bounds the session table.
    pub limits: SessionLimits,
    /// How often a checkpoint is written while there is something to write.
    pub checkpoint_every: Duration,
}

/// What bounds the sessions of a topology.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// A session that has nothing to wait for leaves memory after this long without a record.
    pub passivate_after: Duration,
    /// The most sessions in memory, in all shards together.
    pub max_sessions: usize,
    /// A session that has left memory is forgotten after this long.
    pub forget_after: Option<Duration>,
}

impl Default for SessionLimits {
    fn default() -> Self {
        SessionLimits { passivate_after: Duration::from_secs(15 * 60), max_sessions: 1_000_000, forget_after: None }
    }
}
