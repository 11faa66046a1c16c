//! What a stage is doing, as others may see it.

use std::sync::Arc;

use serde::Serialize;
use tokio::sync::watch;

use crate::peers::Peers;

/// The state of one stage's actor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", content = "why", rename_all = "snake_case")]
pub enum StageState {
    /// Not running yet; why it waits, once there is a reason.
    Starting(Option<String>),
    /// Running.
    Running,
    /// Running, but what it writes to or reads from is not there.
    Waiting(String),
    /// Failed; about to be restarted.
    Restarting(String),
    /// Failed for good.
    Failed(String),
    /// Came to its end.
    Ended,
}

impl StageState {
    /// Whether the stage does its work.
    pub fn is_running(&self) -> bool {
        matches!(self, StageState::Running)
    }
}

/// A stage's state, set by its actor and watched by everyone else.
///
/// The actor knows what it does itself; what its component's other sides do, the component says in the stage's [`Peers`].
#[derive(Clone, Debug)]
pub struct StageStatus {
    actor: Arc<watch::Sender<StageState>>,
    peers: Peers,
}

impl Default for StageStatus {
    fn default() -> Self {
        StageStatus::with(Peers::default())
    }
}

impl StageStatus {
    /// The state of a stage whose component speaks of these other sides.
    pub fn with(peers: Peers) -> Self {
        StageStatus { actor: Arc::new(watch::Sender::new(StageState::Starting(None))), peers }
    }

    /// Sets the state.
    pub fn set(&self, state: StageState) {
        self.actor.send_if_modified(|now| {
            let changed = *now != state;
            if changed {
                *now = state;
            }
            changed
        });
    }

    /// The state now: a stage that runs and has lost one of its other sides is waiting.
    pub fn get(&self) -> StageState {
        let actor = self.actor.borrow().clone();
        match (actor, self.peers.waits_for()) {
            (StageState::Running, Some(why)) => StageState::Waiting(why),
            (StageState::Starting(None), why) => StageState::Starting(why),
            (actor, _) => actor,
        }
    }

    /// Waits until what the actor itself does satisfies `wanted`, whatever its other sides do.
    pub async fn until(&self, wanted: impl FnMut(&StageState) -> bool) -> StageState {
        let mut watcher = self.actor.subscribe();
        let reached = watcher.wait_for(wanted).await.map(|state| state.clone());
        // The sender lives in `self`, so the channel cannot close while this waits.
        reached.unwrap_or(StageState::Ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_that_lost_its_other_side_waits_for_as_long_as_it_is_gone() {
        let peers = Peers::default();
        let status = StageStatus::with(peers.clone());
        let broker = peers.peer("mqtt h:1883");
        broker.lost("connection refused");
        let why = || "mqtt h:1883: connection refused".to_owned();
        assert_eq!(status.get(), StageState::Starting(Some(why())));
        status.set(StageState::Running);
        assert_eq!(status.get(), StageState::Waiting(why()));
        status.set(StageState::Failed("x".to_owned()));
        assert_eq!(status.get(), StageState::Failed("x".to_owned()), "what the actor says of its own end goes first");
        status.set(StageState::Running);
        broker.back();
        assert_eq!(status.get(), StageState::Running);
    }
}
