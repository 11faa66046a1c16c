//! A checked topology: the only thing that can be deployed.

use std::sync::Arc;
use std::time::Duration;

use crate::context::{Connections, TopicDecl, Topics};
use crate::registry::{Description, MakeStore, Role, StageFactory};
use crate::runtime::{Capacity, RestartPolicy, StageLimits};
use crate::stage::Outlet;

use super::simulate::SimulateSpec;

/// A checked topology.
pub struct Plan {
    /// Its name.
    pub name: Arc<str>,
    /// The topics of its log.
    pub topics: Arc<Topics>,
    /// Its stages, each behind those that feed it.
    pub stages: Vec<PlannedStage>,
    /// Where unfit records go.
    pub dead_letters: PlannedSink,
    /// Where claims, slots and checkpoints are kept.
    pub store: MakeStore,
    /// How often a shard writes a checkpoint while there is something to write.
    pub checkpoint_every: Duration,
    /// How stages are restarted.
    pub restart: RestartPolicy,
    /// The topic of the marks, where a stage follows them.
    pub marks: Option<TopicDecl>,
    /// The longest that a drain may take.
    pub drain_deadline: Duration,
    /// A fleet of simulated devices that is to publish to it.
    pub simulate: Option<SimulateSpec>,
    /// Its connections.
    pub connections: Connections,
}

/// A stage of a plan.
pub struct PlannedStage {
    /// Its name.
    pub name: Arc<str>,
    /// Its kind.
    pub kind: &'static str,
    /// The connection that it names, if it names one.
    pub connection: Option<Arc<str>>,
    /// Makes it.
    pub factory: StageFactory,
    /// What it says of itself.
    pub description: Description,
    /// The names of its outlets, the main one first (with an empty name).
    pub outlets: Vec<&'static str>,
    /// What feeds it: indices of earlier stages and their outlets.
    pub inputs: Vec<(usize, Outlet)>,
    /// Its limits.
    pub limits: StageLimits,
    /// What its mailbox holds.
    pub capacity: Capacity,
}

impl PlannedStage {
    /// What it is.
    pub fn role(&self) -> Role {
        self.factory.role()
    }
}

/// The sink of the dead letters.
pub struct PlannedSink {
    /// Its kind.
    pub kind: &'static str,
    /// Makes it.
    pub factory: StageFactory,
    /// What it says of itself.
    pub description: Description,
}
