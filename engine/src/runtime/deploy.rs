//! From a plan to a running topology.
//!
//! Start: the state store and the claim; the dead letters; then the stages from the sinks to the sources, each waiting
//! until the one before it runs, so that nothing is read before there is somewhere to put it. Drain is the same list
//! backwards: the sources stop reading, and each stage ends when everything upstream of it has.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::{Actor, Addr};
use tokio::sync::{mpsc, watch};

use crate::checkpoint::{Owner, StateStore};
use crate::clock::Clock;
use crate::context::BuildContext;
use crate::metrics::StageMetrics;
use crate::peers::Peers;
use crate::ports::Ports;
use crate::position::Epoch;
use crate::registry::{MarksRole, Role, StageFactory};
use crate::retry::{Backoff, BackoffPolicy};
use crate::stage::{BuildError, Outlet};
use crate::topology::{Plan, PlannedStage};

use super::cell::{Cell, StageCommon, StageLimits, seed_of};
use super::claim::{keep_claim, take_claim};
use super::dead_letters::DeadLetters;
use super::deployment::{Deployment, Member};
use super::directory::Directory;
use super::forgets::Forgets;
use super::mailbox::{Capacity, MailboxSender, mailbox};
use super::outlet::{ShardSwitch, Target, Wires};
use super::placement::{Home, Placement};
use super::processor_cell::ProcessorCell;
use super::shard::{Group, GroupStage, TimeMode};
use super::shards::Shards;
use super::sink_cell::{SinkCell, SinkRequest};
use super::source_cell::{Follower, Followers, SourceCell};
use super::status::{StageState, StageStatus};
use super::supervisor::{OnFailure, Settled, StartChild, Supervisor, TopologyState};

/// The name of the dead letters' stage.
pub const DEAD_LETTERS: &str = "dead_letters";

/// The name of the state store among a topology's other sides.
const CHECKPOINTS: &str = "checkpoints";

/// What a topology is deployed into.
pub struct Environment {
    /// Time.
    pub clock: Clock,
    /// Threads.
    pub placement: Placement,
    /// Who we are.
    pub owner: Owner,
}

/// Why a topology did not start.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// Another instance owns the topology.
    #[error("{0}")]
    Held(String),
    /// A stage, or the state store, cannot be built.
    #[error("{0}")]
    Impossible(String),
    /// It was told to stop before it had started.
    #[error("stopped while starting")]
    Stopped,
}

/// Everything that is needed while the stages are wired together.
struct Wiring {
    plan: Plan,
    base: BuildContext,
    members: Vec<Member>,
    /// Of every stage: what leads to it.
    inlets: BTreeMap<usize, MailboxSender>,
    requests: BTreeMap<usize, mpsc::Sender<SinkRequest>>,
    dead_letters: DeadLetters,
    supervisor: Addr<Supervisor>,
    directory: Directory,
    stop: watch::Receiver<bool>,
    state: watch::Receiver<TopologyState>,
}

/// Starts a topology. Returns once every stage runs; what is not there yet is waited for, as long as it takes.
pub async fn deploy(plan: Plan, environment: Environment) -> Result<Deployment, DeployError> {
    let deployment = begin(plan, environment).await?;
    match deployment.started().await {
        Ok(()) => Ok(deployment),
        Err(error) => {
            // Rolled back: what had started ends, and the claim is free for the next try.
            deployment.drain().await;
            Err(error)
        }
    }
}

/// Begins to start a topology: the deployment can be watched and stopped while its stages wait for what they need.
pub async fn begin(plan: Plan, environment: Environment) -> Result<Deployment, DeployError> {
    let Environment { clock, placement, owner } = environment;
    let placement = Arc::new(placement);
    let base = BuildContext {
        topology: plan.name.clone(),
        stage: CHECKPOINTS.into(),
        clock,
        epoch: Epoch(0),
        topics: plan.topics.clone(),
        marks: None,
        store: Arc::new(crate::checkpoint::NoStore),
        ports: Ports::default(),
        downstream: Arc::new([]),
        peers: Peers::default(),
    };
    let store = store(&plan, &base).await?;
    let claim = take_claim(&*store, &plan.name, &owner).await?;
    let base = BuildContext { store: store.clone(), epoch: claim.epoch, ..base };
    let (state, watch_state) = watch::channel(TopologyState::Starting);
    let (stop, watch_stop) = watch::channel(false);
    let supervisor =
        Supervisor::new(plan.name.clone(), plan.restart, placement.clone(), state.clone(), stop.clone()).start();
    let peers = base.peers.clone();
    let seen = peers.peer(CHECKPOINTS);
    let keeper = keep_claim(store, plan.name.clone(), owner, claim.clone(), (state.clone(), stop.clone()), seen);
    let drain_deadline = plan.drain_deadline;
    let ports = base.ports.clone();
    let name = plan.name.clone();
    let directory = Directory::default();
    let wiring = Wiring {
        plan,
        base,
        members: Vec::new(),
        inlets: BTreeMap::new(),
        requests: BTreeMap::new(),
        dead_letters: DeadLetters::default(),
        supervisor,
        directory: directory.clone(),
        stop: watch_stop,
        state: watch_state.clone(),
    };
    let alert_stages = wiring.alert_stages();
    let (members, starting) = wiring.start(state.clone());
    Ok(Deployment {
        name,
        epoch: claim.epoch,
        members,
        ports,
        peers,
        alert_stages,
        directory,
        say: state,
        state: watch_state,
        stop,
        starting,
        keeper,
        placement,
        drain_deadline,
    })
}

async fn store(plan: &Plan, base: &BuildContext) -> Result<Arc<dyn StateStore>, DeployError> {
    let mut backoff = Backoff::new(BackoffPolicy::default(), seed_of(&plan.name));
    loop {
        match plan.store.build(base).await {
            Ok(store) => return Ok(store),
            Err(BuildError::Impossible(why)) => return Err(DeployError::Impossible(why)),
            Err(BuildError::Unavailable(why)) => {
                tracing::warn!(code = "checkpoints_unavailable", topology = %plan.name, why, "waiting for the state store");
                tokio::time::sleep(backoff.next_delay()).await;
            }
        }
    }
}

impl Wiring {
    /// Makes every cell, in start order, and a task that starts them one after the other.
    fn start(
        mut self,
        state: watch::Sender<TopologyState>,
    ) -> (Vec<Member>, tokio::task::JoinHandle<Result<(), DeployError>>) {
        let mut cells: Vec<(Box<dyn Cell>, StageStatus, Option<Home>)> = Vec::new();
        let (dead_letters, status) = self.dead_letters();
        cells.push((dead_letters, status, None));
        for index in (0..self.plan.stages.len()).rev() {
            let home = self.home(index);
            let companions = self.plan.stages[index].description.companions.len();
            let mut made: Vec<_> = (0..companions).rev().map(|companion| self.companion(index, companion)).collect();
            match self.plan.stages[index].role() {
                Role::Sink => made.push(self.sink(index)),
                Role::Processor => made.push(self.processor(index)),
                Role::Keyed => {
                    let (common, _) = self.common(index);
                    common.status.set(StageState::Running);
                }
                Role::Source => made.push(self.source(index)),
            }
            cells.extend(made.into_iter().map(|(cell, status)| (cell, status, home)));
        }
        let members = std::mem::take(&mut self.members);
        let Wiring { supervisor, state: mut watched, .. } = self;
        let starting = actix::spawn(async move {
            for (cell, status, home) in cells {
                let start = StartChild { cell, on_failure: OnFailure::Restart, home, ended: None };
                if supervisor.send(start).await.is_err() {
                    return Err(DeployError::Stopped);
                }
                tokio::select! {
                    biased;
                    _ = status.until(|s| matches!(s, StageState::Running | StageState::Ended)) => {}
                    failed = watched.wait_for(|s| matches!(s, TopologyState::Failed(_) | TopologyState::Draining)) => {
                        return Err(match failed.map(|s| s.clone()) {
                            Ok(TopologyState::Failed(why)) => DeployError::Impossible(why),
                            _ => DeployError::Stopped,
                        });
                    }
                }
            }
            state.send_if_modified(|state| {
                let starting = *state == TopologyState::Starting;
                if starting {
                    *state = TopologyState::Running;
                }
                starting
            });
            match supervisor.send(Settled).await {
                Ok(()) => Ok(()),
                Err(_) => Err(DeployError::Stopped),
            }
        });
        (members, starting)
    }

    /// The home of a stage: the first source that it is, or hangs on.
    fn home(&self, index: usize) -> Option<Home> {
        let mut sources = (0..self.plan.stages.len()).filter(|stage| self.plan.stages[*stage].role() == Role::Source);
        sources.position(|source| source == index || self.reachable(source).contains(&index)).map(Home)
    }

    /// What a stage has whatever it is, entered into the list of members.
    fn common(&mut self, index: usize) -> (StageCommon, usize) {
        let stage = &self.plan.stages[index];
        let feeds_keyed = || self.reachable(index).into_iter().any(|to| self.is_keyed(to));
        let carries = match stage.description.marks {
            MarksRole::None => false,
            MarksRole::Follows => feeds_keyed(),
            MarksRole::Emits | MarksRole::Carries => true,
        };
        let cx = BuildContext {
            stage: stage.name.clone(),
            marks: self.plan.marks.clone().filter(|_| carries),
            downstream: self.downstream(index),
            ..self.base.clone()
        };
        let (kind, role, limits) = (stage.kind, stage.role(), stage.limits);
        let marks = stage.description.marks;
        (self.member(cx, kind, (role, marks), limits), index)
    }

    fn member(
        &mut self,
        cx: BuildContext,
        kind: &'static str,
        (role, marks): (Role, MarksRole),
        limits: StageLimits,
    ) -> StageCommon {
        let cx = BuildContext { peers: Peers::default(), ..cx };
        let metrics = StageMetrics::new(&cx.topology, &cx.stage, kind);
        let status = StageStatus::with(cx.peers.clone());
        let name = cx.stage.clone();
        self.members.push(Member {
            name,
            kind,
            role,
            is_ingress: marks == MarksRole::Emits,
            metrics: metrics.clone(),
            status: status.clone(),
        });
        StageCommon { cx, metrics, status, dead_letters: self.dead_letters.clone(), limits }
    }

    fn dead_letters(&mut self) -> (Box<dyn Cell>, StageStatus) {
        let kind = self.plan.dead_letters.kind;
        let cx = BuildContext { stage: DEAD_LETTERS.into(), ..self.base.clone() };
        let common = self.member(cx, kind, (Role::Sink, MarksRole::None), StageLimits::default());
        let (sender, mailbox) = mailbox(Capacity::default(), common.metrics.clone());
        let (_, requests) = mpsc::channel(1);
        let StageFactory::Sink(factory) = &self.plan.dead_letters.factory else {
            unreachable!("the registry admits only sinks as dead letters")
        };
        let status = common.status.clone();
        let cell = SinkCell::new(common, factory.clone(), mailbox, requests);
        self.dead_letters = DeadLetters::to(sender);
        (Box::new(cell), status)
    }

    fn sink(&mut self, index: usize) -> (Box<dyn Cell>, StageStatus) {
        let (common, _) = self.common(index);
        let StageFactory::Sink(factory) = self.plan.stages[index].factory.clone() else {
            unreachable!("only called for sinks")
        };
        let (sender, mailbox) = mailbox(self.plan.stages[index].capacity, common.metrics.clone());
        let (ask, requests) = mpsc::channel(4);
        self.inlets.insert(index, sender);
        self.requests.insert(index, ask);
        let status = common.status.clone();
        (Box::new(SinkCell::new(common, factory, mailbox, requests)), status)
    }

    /// A sink that belongs to a stage. Its inlet is found under a number behind those of the stages.
    fn companion(&mut self, index: usize, companion: usize) -> (Box<dyn Cell>, StageStatus) {
        let stage = &self.plan.stages[index];
        let description = stage.description.companions[companion].clone();
        let name: Arc<str> = format!("{}.{}", stage.name, description.name).into();
        let (limits, capacity) = (stage.limits, stage.capacity);
        let cx = BuildContext { stage: name, ..self.base.clone() };
        let common = self.member(cx, description.kind, (Role::Sink, MarksRole::None), limits);
        let (sender, mailbox) = mailbox(capacity, common.metrics.clone());
        let (ask, requests) = mpsc::channel(4);
        let key = self.companion_key(index, companion);
        self.inlets.insert(key, sender);
        self.requests.insert(key, ask);
        let status = common.status.clone();
        (Box::new(SinkCell::new(common, description.factory, mailbox, requests)), status)
    }

    fn companion_key(&self, index: usize, companion: usize) -> usize {
        self.plan.stages.len() + index * 256 + companion
    }

    fn processor(&mut self, index: usize) -> (Box<dyn Cell>, StageStatus) {
        let (common, _) = self.common(index);
        let StageFactory::Processor(factory) = self.plan.stages[index].factory.clone() else {
            unreachable!("only called for processors")
        };
        let (sender, mailbox) = mailbox(self.plan.stages[index].capacity, common.metrics.clone());
        let wires = Wires::new(self.outlets(index), common.metrics.clone());
        self.inlets.insert(index, sender);
        let status = common.status.clone();
        (Box::new(ProcessorCell::new(common, factory, mailbox, wires)), status)
    }

    fn source(&mut self, index: usize) -> (Box<dyn Cell>, StageStatus) {
        let (common, _) = self.common(index);
        let StageFactory::Source(factory) = self.plan.stages[index].factory.clone() else {
            unreachable!("only called for sources")
        };
        let mut outlets = self.outlets(index);
        let shards = self.group(index).map(|group| {
            let switch = Arc::new(ShardSwitch::default());
            outlets[0].1.push(Target::Shards(switch.clone()));
            let capacity = self.plan.stages[index].capacity;
            Arc::new(Shards::new(group, switch, self.directory.clone(), self.supervisor.clone(), capacity))
                as Arc<dyn super::source_cell::ShardControl>
        });
        let reachable = self.reachable(index);
        let direct: Vec<usize> = self.consumers(index).map(|(_, to)| to).collect();
        let follower = |key: &usize| {
            let ask = self.requests.get(key)?.clone();
            Some(Follower { ask, is_indirect: !direct.contains(key) })
        };
        let sinks = reachable.iter().filter_map(follower).collect();
        let wires = Wires::new(outlets, common.metrics.clone());
        let status = common.status.clone();
        let cell = SourceCell::new(common, factory, wires, Followers { sinks, shards }, self.stop.clone());
        (Box::new(cell), status)
    }

    /// The keyed stages that hang on a source, directly or behind one another.
    fn group(&mut self, source: usize) -> Option<Group> {
        let keyed: Vec<usize> = self.reachable(source).into_iter().filter(|index| self.is_keyed(*index)).collect();
        let place = |index: usize| keyed.iter().position(|k| *k == index);
        let mut stages = Vec::with_capacity(keyed.len());
        for index in &keyed {
            let stage = &self.plan.stages[*index];
            let StageFactory::Keyed(factory) = stage.factory.clone() else { continue };
            let inner = self.consumers(*index).filter_map(|(outlet, to)| Some((outlet, place(to)?))).collect();
            let journal = stage.description.journal.and_then(|outlet| self.journal_of(*index, outlet));
            let member = self.members.iter().find(|m| m.name == stage.name);
            let (metrics, status) = member.map(|m| (m.metrics.clone(), m.status.clone())).unwrap_or_else(|| {
                (StageMetrics::new(&self.plan.name, &stage.name, stage.kind), StageStatus::default())
            });
            let cx = BuildContext { stage: stage.name.clone(), ..self.base.clone() };
            let dead_letters = self.dead_letters.clone();
            let common = StageCommon { cx, metrics, status, dead_letters, limits: stage.limits };
            stages.push(GroupStage { common, factory, outlets: self.outlets(*index), inner, journal });
        }
        let entry = self.consumers(source).filter_map(|(_, to)| place(to)).collect();
        let description = &self.plan.stages[source].description;
        let limits = keyed.iter().find_map(|k| self.plan.stages[*k].description.sessions).unwrap_or_default();
        (!stages.is_empty()).then(|| Group {
            source: self.plan.stages[source].name.clone(),
            stages,
            entry,
            time: description.time.unwrap_or(TimeMode::Marks),
            limits,
            forgets: Forgets::default(),
            checkpoint_every: self.plan.checkpoint_every,
        })
    }

    fn is_keyed(&self, index: usize) -> bool {
        self.plan.stages.get(index).is_some_and(|s| s.role() == Role::Keyed)
    }

    /// The sink stage that takes the records of an outlet and so keeps them as a journal.
    fn journal_of(&self, index: usize, outlet: Outlet) -> Option<Arc<str>> {
        let is_sink = |to: &usize| self.plan.stages[*to].role() == Role::Sink;
        let (_, sink) = self.consumers(index).find(|(from, to)| *from == outlet && is_sink(to))?;
        Some(self.plan.stages[sink].name.clone())
    }

    /// The sinks that take the journals of keyed stages, each once.
    fn alert_stages(&self) -> Arc<[Arc<str>]> {
        let mut stages: Vec<Arc<str>> = Vec::new();
        for (index, stage) in self.plan.stages.iter().enumerate() {
            let sink = stage.description.journal.and_then(|outlet| self.journal_of(index, outlet));
            stages.extend(sink.filter(|sink| !stages.contains(sink)));
        }
        stages.into()
    }

    /// What takes from a stage: outlet and index.
    fn consumers(&self, index: usize) -> impl Iterator<Item = (Outlet, usize)> + '_ {
        let takes = move |(to, stage): (usize, &PlannedStage)| {
            let outlets: Vec<_> =
                stage.inputs.iter().filter(|(from, _)| *from == index).map(|(_, o)| (*o, to)).collect();
            outlets
        };
        self.plan.stages.iter().enumerate().flat_map(takes)
    }

    /// The outlets of a stage with the mailboxes wired to them; keyed consumers are wired by their group.
    fn outlets(&self, index: usize) -> Vec<(String, Vec<Target>)> {
        let stage = &self.plan.stages[index];
        let mut outlets: Vec<(String, Vec<Target>)> =
            stage.outlets.iter().map(|name| ((*name).to_owned(), Vec::new())).collect();
        for (outlet, to) in self.consumers(index) {
            if let (Some(sender), Some(wired)) = (self.inlets.get(&to), outlets.get_mut(usize::from(outlet.0))) {
                wired.1.push(Target::Stage(sender.clone()));
            }
        }
        for (number, companion) in stage.description.companions.iter().enumerate() {
            let key = self.companion_key(index, number);
            if let (Some(sender), Some(wired)) =
                (self.inlets.get(&key), outlets.get_mut(usize::from(companion.outlet.0)))
            {
                wired.1.push(Target::Stage(sender.clone()));
            }
        }
        outlets
    }

    /// Everything downstream of a stage, companions included, nearest first.
    fn reachable(&self, index: usize) -> Vec<usize> {
        let mut found = vec![index];
        let mut at = 0;
        while let Some(from) = found.get(at).copied() {
            at += 1;
            if from >= self.plan.stages.len() {
                continue;
            }
            let companions = self.plan.stages[from].description.companions.len();
            let companions = (0..companions).map(|number| self.companion_key(from, number));
            for to in self.consumers(from).map(|(_, to)| to).chain(companions) {
                if !found.contains(&to) {
                    found.push(to);
                }
            }
        }
        found.split_off(1)
    }

    /// The names of the sinks downstream of a stage, the dead letters included.
    fn downstream(&self, index: usize) -> Arc<[Arc<str>]> {
        let sinks = self.reachable(index).into_iter().filter_map(|to| self.plan.stages.get(to));
        let sinks = sinks.filter(|s| s.role() == Role::Sink).map(|s| s.name.clone());
        sinks.chain([DEAD_LETTERS.into()]).collect()
    }
}
