//! The claim on a topology: taken before anything of it starts, renewed while it runs, given up at its end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::checkpoint::{Claim, Owner, StateStore, StoreError};
use crate::peers::Peer;
use crate::position::Epoch;
use crate::retry::{Backoff, BackoffPolicy};

use super::cell::seed_of;
use super::deploy::DeployError;
use super::supervisor::TopologyState;

/// Takes the claim on a topology; a state store that does not answer is waited for.
pub(super) async fn take_claim(store: &dyn StateStore, topology: &str, owner: &Owner) -> Result<Claim, DeployError> {
    let mut backoff = Backoff::new(BackoffPolicy::default(), seed_of(topology));
    loop {
        match store.claim(topology, owner).await {
            Ok(claim) => return Ok(claim),
            Err(StoreError::Unavailable(why)) => {
                tracing::warn!(code = "claim_retry", topology, why, "cannot claim the topology yet");
                tokio::time::sleep(backoff.next_delay()).await;
            }
            Err(held @ StoreError::Held(_)) => return Err(DeployError::Held(held.to_string())),
            Err(other) => return Err(DeployError::Impossible(other.to_string())),
        }
    }
}

/// Renews the claim three times a lease. Losing it fails the topology: somebody else owns its devices now. A state store
/// that does not answer is waited for, and the topology says so meanwhile.
pub(super) fn keep_claim(
    store: Arc<dyn StateStore>,
    topology: Arc<str>,
    owner: Owner,
    claim: Claim,
    (state, stop): (watch::Sender<TopologyState>, watch::Sender<bool>),
    seen: Peer,
) -> Keeper {
    let renewing = {
        let (store, topology, owner) = (store.clone(), topology.clone(), owner.clone());
        actix::spawn(async move {
            loop {
                tokio::time::sleep(claim.lease / 3).await;
                match store.renew(&topology, &owner, claim.epoch).await {
                    Ok(()) => seen.back(),
                    Err(StoreError::Unavailable(why)) => seen.lost(why),
                    Err(lost) => {
                        tracing::error!(code = "claim_lost", %topology, %lost, "stopping: the claim on the topology is lost");
                        state.send_replace(TopologyState::Failed(lost.to_string()));
                        stop.send_replace(true);
                        return;
                    }
                }
            }
        })
    };
    Keeper { store, topology, owner, epoch: claim.epoch, renewing }
}

/// Holds the claim of a running topology.
pub(super) struct Keeper {
    store: Arc<dyn StateStore>,
    topology: Arc<str>,
    owner: Owner,
    epoch: Epoch,
    renewing: tokio::task::JoinHandle<()>,
}

impl Keeper {
    /// Gives the claim up; when the store does not answer, its lease ends it.
    pub(super) async fn release(&self) {
        self.renewing.abort();
        let release = self.store.release(&self.topology, &self.owner, self.epoch);
        if !matches!(tokio::time::timeout(Duration::from_secs(2), release).await, Ok(Ok(()))) {
            tracing::warn!(code = "claim_release", topology = %self.topology, "could not give the claim up; it ends with its lease");
        }
    }
}
