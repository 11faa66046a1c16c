//! The supervisor of a topology: one for one, with limits that escalate.
//!
//! It owns the children in start order. A child that panics or fails is started again with its cell after a back-off;
//! one that exceeds the restart limit, or that no restart can help, fails the topology: its sources are stopped, what is
//! in flight comes to its end, and the process learns why.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, Message};
use serde::Serialize;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::cell::{Cell, ExitReason, seed_of};
use super::placement::Placement;
use super::restart::{Decision, RestartPolicy, RestartTracker};
use super::stage_actor::{ChildId, Exited, StageActor};
use super::status::StageState;

/// The state of a topology.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", content = "why", rename_all = "snake_case")]
pub enum TopologyState {
    /// Stages are being built.
    Starting,
    /// All stages run.
    Running,
    /// Sources are stopped; what is in flight is brought to its end.
    Draining,
    /// A stage failed for good.
    Failed(String),
    /// Everything has come to its end.
    Ended,
}

impl TopologyState {
    /// Whether it came to an end by itself: it failed, or its sources had nothing more.
    pub fn is_over(&self) -> bool {
        matches!(self, TopologyState::Failed(_) | TopologyState::Ended)
    }
}

/// What happens to a child that failed.
pub(super) enum OnFailure {
    /// It is started again with its cell.
    Restart,
    /// Its cell is dropped, which lets go of everything it had: its source opens another.
    Drop,
}

/// Starts a child.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct StartChild {
    pub(super) cell: Box<dyn Cell>,
    pub(super) on_failure: OnFailure,
    /// Told when the child has ended for good.
    pub(super) ended: Option<oneshot::Sender<()>>,
}

/// No more children will be started from outside: the topology ends when those there are have ended.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Settled;

pub(super) struct Supervisor {
    topology: Arc<str>,
    policy: RestartPolicy,
    placement: Arc<Placement>,
    state: watch::Sender<TopologyState>,
    stop: watch::Sender<bool>,
    children: BTreeMap<ChildId, Child>,
    trackers: BTreeMap<Arc<str>, RestartTracker>,
    next: ChildId,
    settled: bool,
}

struct Child {
    name: Arc<str>,
    on_failure: OnFailure,
    ended: Option<oneshot::Sender<()>>,
}

impl Supervisor {
    pub(super) fn new(
        topology: Arc<str>,
        policy: RestartPolicy,
        placement: Arc<Placement>,
        state: watch::Sender<TopologyState>,
        stop: watch::Sender<bool>,
    ) -> Self {
        let (children, trackers) = Default::default();
        Supervisor { topology, policy, placement, state, stop, children, trackers, next: 0, settled: false }
    }

    fn run(&self, child: ChildId, cell: Box<dyn Cell>, cx: &mut Context<Self>) {
        self.placement.start(StageActor::new(child, cell, cx.address().recipient()));
    }

    fn end(&mut self, child: ChildId) {
        if let Some(ended) = self.children.remove(&child).and_then(|c| c.ended) {
            // Whoever asked may have stopped waiting.
            let _ = ended.send(());
        }
        self.look_at_the_end();
    }

    fn look_at_the_end(&mut self) {
        if self.settled && self.children.is_empty() {
            self.state.send_if_modified(|state| {
                let running = !matches!(state, TopologyState::Failed(_));
                if running {
                    *state = TopologyState::Ended;
                }
                running
            });
        }
    }

    fn fail(&mut self, stage: &str, why: &str) {
        let why = format!("stage `{stage}`: {why}");
        tracing::error!(code = "topology_failed", topology = %self.topology, stage, why, "the topology has failed; its sources are stopped");
        self.state.send_if_modified(|state| {
            let first = !matches!(state, TopologyState::Failed(_));
            if first {
                *state = TopologyState::Failed(why);
            }
            first
        });
        self.stop.send_replace(true);
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;
}

impl Handler<StartChild> for Supervisor {
    type Result = ();

    fn handle(&mut self, start: StartChild, cx: &mut Context<Self>) {
        let child = self.next;
        self.next += 1;
        let name = start.cell.common().cx.stage.clone();
        self.children.insert(child, Child { name, on_failure: start.on_failure, ended: start.ended });
        self.run(child, start.cell, cx);
    }
}

impl Handler<Settled> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: Settled, _: &mut Context<Self>) {
        self.settled = true;
        // Sources that have nothing to give may have ended before everything had started.
        self.look_at_the_end();
    }
}

impl Handler<Exited> for Supervisor {
    type Result = ();

    fn handle(&mut self, exited: Exited, cx: &mut Context<Self>) {
        let Exited { child, reason, mut cell } = exited;
        let Some(entry) = self.children.get(&child) else { return };
        let name = entry.name.clone();
        let common = cell.common().clone();
        let message = match &reason {
            ExitReason::Drained => {
                // A shard ends with its partition's assignment; the stages that it hosts go on in the others.
                if matches!(entry.on_failure, OnFailure::Restart) {
                    common.status.set(StageState::Ended);
                }
                drop(cell);
                return self.end(child);
            }
            ExitReason::Broken(why) => {
                common.status.set(StageState::Failed(why.clone()));
                self.fail(&name, why);
                drop(cell);
                return self.end(child);
            }
            ExitReason::Panicked(message) => {
                cell.panicked(message);
                format!("panicked: {message}")
            }
            ExitReason::Failed(why) => why.clone(),
        };
        let policy = self.policy;
        let tracker = self.trackers.entry(name.clone());
        let tracker = tracker.or_insert_with(|| RestartTracker::new(policy, seed_of(&name)));
        match tracker.failed(Instant::now()) {
            Decision::Escalate => {
                let RestartPolicy { max_restarts, within, .. } = policy;
                let why = format!(
                    "more than {max_restarts} restarts within {}s; the last failure: {message}",
                    within.as_secs()
                );
                common.status.set(StageState::Failed(why.clone()));
                self.fail(&name, &why);
                drop(cell);
                self.end(child);
            }
            Decision::RestartAfter(delay) => {
                common.metrics.restarted(reason.word());
                tracing::warn!(code = "stage_restart", topology = %self.topology, stage = %name, delay_ms = delay.as_millis() as u64, why = message, "the stage failed and is started again");
                match entry_on_failure(&self.children, child) {
                    OnFailure::Restart => {
                        common.status.set(StageState::Restarting(message));
                        let supervisor = cx.address();
                        let start = Restart { child, cell };
                        // A tokio timer, not the actor's own: a busy mailbox starves those.
                        actix::spawn(async move {
                            tokio::time::sleep(delay).await;
                            let _ = supervisor.send(start).await;
                        });
                    }
                    OnFailure::Drop => {
                        drop(cell);
                        // Whoever would start another in its place hears of the end after the back-off.
                        let supervisor = cx.address();
                        actix::spawn(async move {
                            tokio::time::sleep(delay).await;
                            let _ = supervisor.send(Gone { child }).await;
                        });
                    }
                }
            }
        }
    }
}

fn entry_on_failure(children: &BTreeMap<ChildId, Child>, child: ChildId) -> &OnFailure {
    children.get(&child).map_or(&OnFailure::Drop, |c| &c.on_failure)
}

#[derive(Message)]
#[rtype(result = "()")]
struct Restart {
    child: ChildId,
    cell: Box<dyn Cell>,
}

impl Handler<Restart> for Supervisor {
    type Result = ();

    fn handle(&mut self, restart: Restart, cx: &mut Context<Self>) {
        self.run(restart.child, restart.cell, cx);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Gone {
    child: ChildId,
}

impl Handler<Gone> for Supervisor {
    type Result = ();

    fn handle(&mut self, gone: Gone, _: &mut Context<Self>) {
        self.end(gone.child);
    }
}

/// The longest that a topology waits for what it has in flight when it is drained.
pub const DEFAULT_DRAIN_DEADLINE: Duration = Duration::from_secs(30);
