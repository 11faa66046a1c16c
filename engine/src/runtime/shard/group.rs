//! The keyed stages that hang on one source: what a shard hosts.

use std::sync::Arc;
use std::time::Duration;

use crate::registry::{Factory, SessionLimits};
use crate::runtime::cell::StageCommon;
use crate::runtime::forgets::Forgets;
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
    /// Where the shards tell of devices that they forget.
    pub forgets: Forgets,
    /// How often a checkpoint is written while there is something to write.
    pub checkpoint_every: Duration,
}
