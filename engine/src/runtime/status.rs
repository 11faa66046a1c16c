//! What a stage is doing, as others may see it.

use std::sync::Arc;

use serde::Serialize;
use tokio::sync::watch;

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
#[derive(Clone, Debug)]
pub struct StageStatus(Arc<watch::Sender<StageState>>);

impl Default for StageStatus {
    fn default() -> Self {
        StageStatus(Arc::new(watch::Sender::new(StageState::Starting(None))))
    }
}

impl StageStatus {
    /// Sets the state.
    pub fn set(&self, state: StageState) {
        self.0.send_if_modified(|now| {
            let changed = *now != state;
            if changed {
                *now = state;
            }
            changed
        });
    }

    /// The state now.
    pub fn get(&self) -> StageState {
        self.0.borrow().clone()
    }

    /// Waits until the state satisfies `wanted`.
    pub async fn until(&self, wanted: impl FnMut(&StageState) -> bool) -> StageState {
        let mut watcher = self.0.subscribe();
        let reached = watcher.wait_for(wanted).await.map(|state| state.clone());
        // The sender lives in `self`, so the channel cannot close while this waits.
        reached.unwrap_or(StageState::Ended)
    }
}
