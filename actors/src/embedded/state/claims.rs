//! Who owns a topology.
//!
//! The lock on the directory keeps other processes out, and what one of them had claimed ended with it. So claims are
//! in memory, one table for the directory, and only the counter of epochs is stored. Within the process a claim has a
//! lease: whoever finds it taken waits until the lease must have ended, and is refused if it was renewed meanwhile.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use telemill_engine::checkpoint::{Claim, Owner, StoreError};
use telemill_engine::position::Epoch;
use tokio::time::{Instant, sleep};
use tracing::info;

use super::Refusal;
use super::json;
use crate::embedded::disk::Disk;

/// How often a claim that is held is looked at: a renewal is seen soon after it.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The claims on what is in a directory, by topology.
#[derive(Debug, Default)]
pub(super) struct Claims(Mutex<HashMap<String, Held>>);

#[derive(Clone, Debug)]
struct Held {
    owner: Owner,
    epoch: Epoch,
    ends: Instant,
}

/// The epoch of what is stored is all there is.
#[derive(Serialize, Deserialize)]
struct Counter {}

fn key(topology: &str) -> Vec<u8> {
    [b"epoch\0", topology.as_bytes()].concat()
}

fn what(topology: &str) -> String {
    format!("the counter of epochs of `{topology}`")
}

impl Claims {
    pub(super) async fn claim(
        &self,
        disk: &Disk,
        lease: Duration,
        topology: &str,
        owner: &Owner,
    ) -> Result<Claim, StoreError> {
        // Whom we wait for, until when.
        let mut awaited: Option<Held> = None;
        loop {
            let epoch = match &self.holder(topology) {
                Some(held) if held.owner.instance == owner.instance => held.epoch,
                Some(held) if held.ends > Instant::now() => {
                    let known = awaited.get_or_insert_with(|| {
                        info!(code = "claim_awaited", topology, pid = held.owner.pid, "waiting for a claim to end");
                        held.clone()
                    });
                    if known.owner.instance != held.owner.instance || held.ends > known.ends {
                        return Err(StoreError::Held(held.owner.clone()));
                    }
                    sleep(LOOK_EVERY.min(held.ends - Instant::now())).await;
                    continue;
                }
                _ => next_epoch(disk, topology).await?,
            };
            if self.take(topology, owner, epoch, lease) {
                return Ok(Claim { epoch, lease });
            }
        }
    }

    pub(super) async fn renew(
        &self,
        disk: &Disk,
        lease: Duration,
        topology: &str,
        owner: &Owner,
        epoch: Epoch,
    ) -> Result<(), StoreError> {
        let newest = match self.holder(topology) {
            Some(held) => held.epoch,
            None => newest_epoch(disk, topology).await?,
        };
        if newest > epoch || !self.take(topology, owner, epoch, lease) {
            return Err(StoreError::Fenced { ours: epoch, theirs: newest.max(Epoch(epoch.0 + 1)) });
        }
        Ok(())
    }

    pub(super) fn release(&self, topology: &str, owner: &Owner) {
        let mut claims = self.lock();
        if claims.get(topology).is_some_and(|held| held.owner.instance == owner.instance) {
            claims.remove(topology);
        }
    }

    /// Writes down a claim, or that it was renewed; not where a newer one is there, or another that has not ended.
    fn take(&self, topology: &str, owner: &Owner, epoch: Epoch, lease: Duration) -> bool {
        let now = Instant::now();
        let mut claims = self.lock();
        let is_free = claims
            .get(topology)
            .is_none_or(|held| held.epoch <= epoch && (held.owner.instance == owner.instance || held.ends <= now));
        if is_free {
            claims.insert(topology.to_owned(), Held { owner: owner.clone(), epoch, ends: now + lease });
        }
        is_free
    }

    fn holder(&self, topology: &str) -> Option<Held> {
        self.lock().get(topology).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts on, durably: an epoch is given out once.
async fn next_epoch(disk: &Disk, topology: &str) -> Result<Epoch, StoreError> {
    let (key, what) = (key(topology), what(topology));
    let counted = disk.write(move |tx| {
        let newest = json::read::<Counter>(tx, &key, &what)?.map_or(Epoch::default(), |stored| stored.epoch);
        let next = Epoch(newest.0 + 1);
        json::write(tx, key.into(), next, Counter {});
        Ok::<_, Refusal>(next)
    });
    Ok(counted.await?)
}

async fn newest_epoch(disk: &Disk, topology: &str) -> Result<Epoch, StoreError> {
    let (key, what) = (key(topology), what(topology));
    let read = disk.read(move |view| json::read::<Counter>(view, &key, &what));
    Ok(read.await?.map_or(Epoch::default(), |stored| stored.epoch))
}
