//! Who may own a topology, and when.

use std::time::Duration;

use telemill_engine::checkpoint::{Owner, StoreError};
use telemill_engine::position::Epoch;
use telemill_services::{eventually, unique_name};
use tokio::time::{Instant, timeout};
use ulid::Ulid;

use super::{DEADLINE, Harness, owner};

const LEASE: Duration = Duration::from_secs(2);

pub(crate) async fn a_claim_may_be_repeated_and_given_up<H: Harness>() {
    let harness = H::start().await;
    let (store, topology) = (harness.store(), unique_name("claim"));
    let first = store.claim(&topology, &owner(1)).await.unwrap();
    assert_eq!((first.epoch, first.lease), (Epoch(1), Duration::from_secs(10)));
    // The answer to the first may have been lost.
    assert_eq!(store.claim(&topology, &owner(1)).await.unwrap().epoch, Epoch(1));

    store.release(&topology, &owner(2), Epoch(1)).await.unwrap();
    store.renew(&topology, &owner(1), Epoch(1)).await.expect("it was not the other's to release");
    store.release(&topology, &owner(1), Epoch(1)).await.unwrap();
    let second =
        timeout(Duration::from_secs(5), store.claim(&topology, &owner(2))).await.expect("nobody is waited for");
    assert_eq!(second.unwrap().epoch, Epoch(2));
}

pub(crate) async fn a_claim_that_is_renewed_is_refused_to_others<H: Harness>() {
    let harness = H::start().await;
    let (store, topology) = (harness.store_with_lease(LEASE), unique_name("held"));
    let epoch = store.claim(&topology, &owner(1)).await.unwrap().epoch;
    let renewing = async {
        let mut every = tokio::time::interval(LEASE / 3);
        loop {
            every.tick().await;
            store.renew(&topology, &owner(1), epoch).await.unwrap();
        }
    };
    let other = owner(2);
    let refused = tokio::select! {
        refused = timeout(DEADLINE, store.claim(&topology, &other)) => refused.expect("it is not waited for ever"),
        () = renewing => unreachable!("it renews for ever"),
    };
    let Err(StoreError::Held(holder)) = refused else { panic!("{refused:?}") };
    assert_eq!(holder, owner(1));
}

pub(crate) async fn a_claim_that_is_not_renewed_is_waited_for_and_its_owner_fenced<H: Harness>() {
    let harness = H::start().await;
    let (store, topology) = (harness.store_with_lease(LEASE), unique_name("expired"));
    let first = store.claim(&topology, &owner(1)).await.unwrap().epoch;
    let start = Instant::now();
    let second = timeout(DEADLINE, store.claim(&topology, &owner(2))).await.unwrap().unwrap().epoch;
    assert!(start.elapsed() >= LEASE / 2, "it was waited for: {:?}", start.elapsed());
    assert!(second > first);
    let refused = store.renew(&topology, &owner(1), first).await;
    assert!(matches!(refused, Err(StoreError::Fenced { ours: Epoch(1), theirs: Epoch(2) })), "{refused:?}");
    store.release(&topology, &owner(2), second).await.unwrap();
    let refused = store.renew(&topology, &owner(1), first).await;
    assert!(matches!(refused, Err(StoreError::Fenced { .. })), "not even when it is free again: {refused:?}");
}

pub(crate) async fn a_claim_that_ran_out_is_taken_again_by_its_owner<H: Harness>() {
    let harness = H::start().await;
    let lease = Duration::from_millis(300);
    let (store, topology) = (harness.store_with_lease(lease), unique_name("again"));
    let first = store.claim(&topology, &owner(1)).await.unwrap().epoch;
    let start = Instant::now();
    eventually(DEADLINE, "the lease to end", async || (start.elapsed() > 2 * lease).then_some(())).await;
    store.renew(&topology, &owner(1), first).await.expect("nobody took it, and the epoch is still the newest");
    let refused = store.renew(&topology, &owner(2), Epoch(0)).await;
    assert!(matches!(refused, Err(StoreError::Fenced { .. })), "{refused:?}");
}

pub(crate) async fn the_claim_of_a_process_that_is_no_more_is_taken_over_at_once<H: Harness>() {
    let topology = unique_name("dead");
    let harness = H::left_claimed(&topology).await;
    let us = Owner { instance: Ulid::from_parts(1, 2), host: "here".to_owned(), pid: std::process::id() };
    let taken = timeout(Duration::from_secs(5), harness.store().claim(&topology, &us)).await;
    assert_eq!(taken.expect("nobody is waited for").unwrap().epoch, Epoch(2));
}

pub(crate) async fn topologies_are_claimed_apart<H: Harness>() {
    let harness = H::start().await;
    let (store, topology) = (harness.store(), unique_name("apart"));
    store.claim(&topology, &owner(1)).await.unwrap();
    let other = timeout(Duration::from_secs(5), store.claim(&format!("{topology}x"), &owner(2))).await;
    assert_eq!(other.expect("nobody is waited for").unwrap().epoch, Epoch(1));
}
