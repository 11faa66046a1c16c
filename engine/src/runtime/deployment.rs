//! A running topology, as its owner sees it.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;

use crate::metrics::{Ledger, StageMetrics};
use crate::peers::Peers;
use crate::ports::Ports;
use crate::position::Epoch;
use crate::registry::Role;

use super::claim::Keeper;
use super::deploy::DeployError;
use super::directory::Directory;
use super::placement::Placement;
use super::status::{StageState, StageStatus};
use super::supervisor::TopologyState;

/// A stage of a running topology.
#[derive(Clone)]
pub struct Member {
    /// Its name.
    pub name: Arc<str>,
    /// Its kind.
    pub kind: &'static str,
    /// What it is.
    pub role: Role,
    /// Whether records enter the topology by it from devices.
    pub is_ingress: bool,
    /// Its counters.
    pub metrics: Arc<StageMetrics>,
    /// Its state.
    pub status: StageStatus,
}

/// A stage as the status page shows it.
#[derive(Clone, Debug, Serialize)]
pub struct StageReport {
    /// Its name.
    pub name: Arc<str>,
    /// Its kind.
    pub kind: &'static str,
    /// What it is doing.
    #[serde(flatten)]
    pub state: StageState,
    /// What it has counted.
    pub ledger: Ledger,
}

/// A running topology.
pub struct Deployment {
    pub(super) name: Arc<str>,
    pub(super) epoch: Epoch,
    pub(super) members: Vec<Member>,
    pub(super) ports: Ports,
    pub(super) peers: Peers,
    pub(super) alert_stages: Arc<[Arc<str>]>,
    pub(super) directory: Directory,
    pub(super) say: watch::Sender<TopologyState>,
    pub(super) state: watch::Receiver<TopologyState>,
    pub(super) stop: watch::Sender<bool>,
    pub(super) starting: tokio::task::JoinHandle<Result<(), DeployError>>,
    pub(super) keeper: Keeper,
    pub(super) placement: Arc<Placement>,
    pub(super) drain_deadline: Duration,
}

/// What others may see and ask of a running topology. Cheap to clone.
#[derive(Clone)]
pub struct DeploymentView {
    /// Its name.
    pub name: Arc<str>,
    /// The epoch under which it runs.
    pub epoch: Epoch,
    /// Its stages, in start order.
    pub members: Arc<[Member]>,
    /// What its stages offer.
    pub ports: Ports,
    /// What the topology as a whole talks to: its state store.
    pub peers: Peers,
    /// Its devices.
    pub directory: Directory,
    alert_stages: Arc<[Arc<str>]>,
    state: watch::Receiver<TopologyState>,
}

impl DeploymentView {
    /// The state now.
    pub fn state(&self) -> TopologyState {
        self.state.borrow().clone()
    }

    /// The stages that keep alert transitions: those that take the journal of a keyed stage. What other stages write, and
    /// could be read in the same way, is none of it.
    pub fn alert_stages(&self) -> &[Arc<str>] {
        &self.alert_stages
    }

    /// Waits until every stage runs, or until it is clear that they will not.
    pub async fn started(&self) -> Result<(), DeployError> {
        let mut state = self.state.clone();
        let reached = state.wait_for(|s| *s != TopologyState::Starting).await.map(|s| s.clone());
        match reached {
            Ok(TopologyState::Failed(why)) => Err(DeployError::Impossible(why)),
            Ok(TopologyState::Running | TopologyState::Ended) => Ok(()),
            _ => Err(DeployError::Stopped),
        }
    }

    /// Every stage: what it is doing and what it has counted.
    pub fn report(&self) -> Vec<StageReport> {
        let report = |m: &Member| StageReport {
            name: m.name.clone(),
            kind: m.kind,
            state: m.status.get(),
            ledger: m.metrics.ledger(),
        };
        self.members.iter().map(report).collect()
    }
}

/// How a topology came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything received is resolved.
    Drained,
    /// The deadline passed first. Nothing was acknowledged that is not safe; the rest will be read again.
    DeadlinePassed,
    /// A stage failed for good.
    Failed(String),
}

impl Deployment {
    /// What others may see of it.
    pub fn view(&self) -> DeploymentView {
        DeploymentView {
            name: self.name.clone(),
            epoch: self.epoch,
            members: self.members.clone().into(),
            ports: self.ports.clone(),
            peers: self.peers.clone(),
            directory: self.directory.clone(),
            alert_stages: self.alert_stages.clone(),
            state: self.state.clone(),
        }
    }

    /// Waits until every stage runs, or until it is clear that they will not.
    pub async fn started(&self) -> Result<(), DeployError> {
        self.view().started().await
    }

    /// Waits until the topology comes to an end by itself: it failed, or its sources had nothing more.
    pub async fn ended(&self) -> TopologyState {
        let mut state = self.state.clone();
        let reached = state.wait_for(TopologyState::is_over).await.map(|s| s.clone());
        reached.unwrap_or(TopologyState::Ended)
    }

    /// Stops the sources, brings what is in flight to its end, writes checkpoints and commits, gives the claim up.
    pub async fn drain(self) -> Ended {
        let deadline = self.drain_deadline;
        self.stop.send_replace(true);
        // Stages that have not started yet are not started any more.
        self.say.send_if_modified(|state| {
            let goes_on = matches!(state, TopologyState::Starting | TopologyState::Running);
            if goes_on {
                *state = TopologyState::Draining;
            }
            goes_on
        });
        let all_ended = async {
            // A stage that was never started has nothing to end.
            for member in self.members.iter().filter(|m| m.role != Role::Keyed) {
                member
                    .status
                    .until(|s| matches!(s, StageState::Ended | StageState::Failed(_) | StageState::Starting(_)))
                    .await;
            }
        };
        let in_time = tokio::time::timeout(deadline, all_ended).await.is_ok();
        self.starting.abort();
        let failed = match &*self.state.borrow() {
            TopologyState::Failed(why) => Some(why.clone()),
            _ => None,
        };
        self.keeper.release().await;
        match (failed, in_time) {
            (Some(why), _) => Ended::Failed(why),
            (None, true) => Ended::Drained,
            (None, false) => Ended::DeadlinePassed,
        }
    }

    /// The threads that the topology's actors run on, to be stopped once it has ended.
    pub fn threads(&self) -> Arc<Placement> {
        self.placement.clone()
    }
}
