//! Who owns a topology.
//!
//! A claim has a lease, and its owner renews it well before. Whoever finds it taken waits until the lease must have
//! ended: if it was renewed meanwhile, its owner is alive and the claim is refused; if not, it is free. Only an owner that
//! is known to be no more, a process of this host that does not exist, is not waited for.

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use redis::Script;
use serde::Deserialize;
use telemill_engine::checkpoint::{Claim, Owner, StoreError};
use telemill_engine::position::Epoch;
use tokio::time::{Instant, sleep};
use tracing::info;

use super::run;
use crate::redis::{Answer, Link};

static CLAIM: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("claim.lua")));
static RENEW: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("renew.lua")));
static RELEASE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("release.lua")));

/// Beyond the lease, for clocks that are not exact and answers that take time.
const MARGIN: Duration = Duration::from_secs(1);
/// How often a claim that is held is looked at: a renewal is seen soon after it.
const LOOK_EVERY: Duration = Duration::from_millis(250);

#[derive(Deserialize)]
struct Held {
    #[serde(flatten)]
    owner: Owner,
}

fn keys(topology: &str) -> [String; 2] {
    [format!("telemill:claim:{topology}"), format!("telemill:epoch:{topology}")]
}

pub(super) async fn claim(link: &Link, lease: Duration, topology: &str, owner: &Owner) -> Result<Claim, StoreError> {
    let deadline = Instant::now() + lease + MARGIN;
    let mut gone = String::new();
    // Whom we wait for, and when their lease ends unless they renew it.
    let mut awaited: Option<(Owner, Instant)> = None;
    loop {
        let answer = ask(link, lease, topology, owner, &gone).await?;
        if answer.word() == "claimed" {
            let epoch = Epoch(u64::try_from(answer.number(0)).unwrap_or_default());
            return Ok(Claim { epoch, lease });
        }
        let holder = holder(&answer, topology)?;
        if is_gone(&holder, owner) {
            info!(code = "claim_taken_over", topology, pid = holder.pid, "the claim's owner on this host is no more");
            gone = holder.instance.to_string();
            continue;
        }
        let left = Duration::from_millis(u64::try_from(answer.number(1)).unwrap_or_default());
        let ends = Instant::now() + left;
        let renewed = awaited
            .as_ref()
            .is_some_and(|(known, known_end)| known.instance != holder.instance || ends > *known_end + lease / 10);
        if renewed || Instant::now() > deadline {
            return Err(StoreError::Held(holder));
        }
        if awaited.is_none() {
            info!(code = "claim_awaited", topology, pid = holder.pid, host = holder.host, "waiting for a claim to end");
            awaited = Some((holder, ends));
        }
        sleep(LOOK_EVERY.min(left + Duration::from_millis(1))).await;
    }
}

async fn ask(link: &Link, lease: Duration, topology: &str, owner: &Owner, gone: &str) -> Result<Answer, StoreError> {
    let [claim, epochs] = keys(topology);
    let head = head(owner);
    let instance = owner.instance.to_string();
    let lease = lease.as_millis().to_string();
    let args = [instance.as_bytes(), head.as_bytes(), lease.as_bytes(), gone.as_bytes()];
    run(link, &CLAIM, &[&claim, &epochs], &args, Epoch::default()).await
}

pub(super) async fn renew(
    link: &Link,
    lease: Duration,
    topology: &str,
    owner: &Owner,
    epoch: Epoch,
) -> Result<(), StoreError> {
    let [claim, epochs] = keys(topology);
    let json = format!("{}{epoch}}}", head(owner));
    let instance = owner.instance.to_string();
    let (lease, number) = (lease.as_millis().to_string(), epoch.to_string());
    let args = [instance.as_bytes(), json.as_bytes(), lease.as_bytes(), number.as_bytes()];
    run(link, &RENEW, &[&claim, &epochs], &args, epoch).await.map(drop)
}

pub(super) async fn release(link: &Link, topology: &str, owner: &Owner) -> Result<(), StoreError> {
    let [claim, _] = keys(topology);
    let instance = owner.instance.to_string();
    run(link, &RELEASE, &[&claim], &[instance.as_bytes()], Epoch::default()).await.map(drop)
}

/// The stored form up to the epoch's value.
fn head(owner: &Owner) -> String {
    let mut json = serde_json::to_string(owner).expect("strings and numbers are JSON");
    json.pop();
    json + ",\"epoch\":"
}

fn holder(answer: &Answer, topology: &str) -> Result<Owner, StoreError> {
    let held = serde_json::from_str::<Held>(&answer.text(0));
    held.map(|held| held.owner)
        .map_err(|error| StoreError::Corrupt(format!("the claim on `{topology}` cannot be read: {error}")))
}

/// Whether the holder is a process of this host that does not exist. Where processes cannot be looked up, none is.
fn is_gone(holder: &Owner, us: &Owner) -> bool {
    holder.host == us.host && Path::new("/proc/self").exists() && !Path::new(&format!("/proc/{}", holder.pid)).exists()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ulid::Ulid;

    fn owner(host: &str, pid: u32) -> Owner {
        Owner { instance: Ulid::from_parts(1, 2), host: host.to_owned(), pid }
    }

    #[test]
    fn the_stored_form_is_fixed() {
        let stored = format!("{}7}}", head(&owner("h", 42)));
        assert_eq!(stored, r#"{"instance":"00000000010000000000000002","host":"h","pid":42,"epoch":7}"#);
    }

    #[test]
    fn only_a_dead_process_of_this_host_is_gone() {
        let us = owner("here", std::process::id());
        // Above the highest process id that Linux hands out.
        assert!(is_gone(&owner("here", u32::MAX), &us));
        assert!(!is_gone(&owner("there", u32::MAX), &us));
        assert!(!is_gone(&owner("here", std::process::id()), &us));
    }
}
