//! A server that refuses or stands still: what is to be kept is kept when it is well again, and by nobody but its owner.

use std::time::Duration;

use telemill_actors::redis_state::RedisState;
use telemill_engine::checkpoint::{CheckpointDelta, StateStore, StoreError};
use telemill_engine::position::Epoch;
use telemill_services::{Redis, eventually, unique_name};

use crate::conformance::state::checkpoints::{meta, scope};
use crate::conformance::state::owner;
use crate::redis_support::{DEADLINE, Refusal, connection};

fn delta(offset: i64) -> CheckpointDelta {
    CheckpointDelta { meta: meta(offset), ..CheckpointDelta::default() }
}

#[tokio::test]
async fn what_the_server_refuses_for_its_own_state_is_unavailable_until_that_passes() {
    let server = Refusal::server();
    let store = super::store(&server.url());
    let (topology, scope) = (unique_name("refuse"), scope());
    let epoch = store.claim(&topology, &owner(1)).await.unwrap().epoch;
    // Scripts that are gone are loaded again by the way.
    let refusals = Refusal::ALL.into_iter().filter(|refusal| *refusal != Refusal::NoScript);
    for (offset, refusal) in (1..).zip(refusals) {
        store.save(&scope, epoch, &delta(offset * 10)).await.unwrap();
        refusal.begin(&server).await;
        let saved = store.save(&scope, epoch, &delta(offset * 10 + 1)).await;
        assert!(matches!(saved, Err(StoreError::Unavailable(_))), "{refusal:?}: {saved:?}");
        refusal.end(&server).await;
        eventually(DEADLINE, "the checkpoint to be saved", async || {
            store.save(&scope, epoch, &delta(offset * 10 + 1)).await.ok()
        })
        .await;
        eventually(DEADLINE, "the claim to be renewed", async || store.renew(&topology, &owner(1), epoch).await.ok())
            .await;
        assert_eq!(store.open(&scope, epoch).await.unwrap(), Some(meta(offset * 10 + 1)), "{refusal:?}");
    }
    Refusal::NoScript.begin(&server).await;
    store.save(&scope, epoch, &delta(Refusal::ALL.len() as i64 * 10)).await.unwrap();
}

/// As over a link that is half open: nothing answers, and nothing says so.
#[tokio::test]
async fn a_server_that_stands_still_is_unavailable_in_bounded_time_and_fences_when_it_goes_on() {
    let server = Redis::start();
    let store = RedisState::new(connection(&server.url(), Duration::from_secs(1)));
    let scope = scope();
    store.open(&scope, Epoch(1)).await.unwrap();
    store.save(&scope, Epoch(1), &delta(10)).await.unwrap();
    server.stop();
    for _ in 0..2 {
        let saved = tokio::time::timeout(DEADLINE, store.save(&scope, Epoch(1), &delta(11))).await.expect("an answer");
        assert!(matches!(saved, Err(StoreError::Unavailable(_))), "{saved:?}");
    }
    server.cont();
    // Whatever of it still stood in the server's queue: somebody else owns the scope from here on.
    let other = super::store(&server.url());
    other.open(&scope, Epoch(2)).await.unwrap();
    other.save(&scope, Epoch(2), &delta(20)).await.unwrap();
    let saved = eventually(DEADLINE, "an answer", async || match store.save(&scope, Epoch(1), &delta(12)).await {
        Err(StoreError::Unavailable(_)) => None,
        other => Some(other),
    })
    .await;
    assert!(matches!(saved, Err(StoreError::Fenced { theirs: Epoch(2), .. })), "{saved:?}");
    assert_eq!(other.open(&scope, Epoch(2)).await.unwrap(), Some(meta(20)));
}
