//! Who may own a topology, and when.

use std::process::Command;
use std::time::Duration;

use telemill_engine::checkpoint::{Owner, StateStore, StoreError};
use telemill_engine::position::Epoch;
use telemill_services::{Services, unique_name};
use tokio::time::{Instant, timeout};
use ulid::Ulid;

use super::{store, store_with_lease};
use crate::redis_support::{DEADLINE, client};

const LEASE: Duration = Duration::from_secs(2);

/// An owner on a host where nobody can look for its process.
fn owner(n: u128) -> Owner {
    Owner { instance: Ulid::from_parts(1, n), host: format!("host-{n}"), pid: 1 }
}

#[tokio::test]
async fn a_claim_is_stored_as_written_down_and_may_be_repeated() {
    let url = Services::shared().redis_url();
    let (store, topology) = (store(url), unique_name("claim"));
    let first = store.claim(&topology, &owner(1)).await.unwrap();
    assert_eq!((first.epoch, first.lease), (Epoch(1), Duration::from_secs(10)));
    let mut client = client(url).await;
    let stored: String =
        redis::cmd("GET").arg(format!("telemill:claim:{topology}")).query_async(&mut client).await.unwrap();
    assert_eq!(stored, r#"{"instance":"00000000010000000000000001","host":"host-1","pid":1,"epoch":1}"#);
    let ttl: u64 = redis::cmd("PTTL").arg(format!("telemill:claim:{topology}")).query_async(&mut client).await.unwrap();
    assert!(ttl <= 10_000, "{ttl}");
    let counter: u64 =
        redis::cmd("GET").arg(format!("telemill:epoch:{topology}")).query_async(&mut client).await.unwrap();
    assert_eq!(counter, 1);
    // The answer to the first may have been lost.
    assert_eq!(store.claim(&topology, &owner(1)).await.unwrap().epoch, Epoch(1));

    store.release(&topology, &owner(2), Epoch(1)).await.unwrap();
    store.renew(&topology, &owner(1), Epoch(1)).await.expect("it was not the other's to release");
    store.release(&topology, &owner(1), Epoch(1)).await.unwrap();
    let second =
        timeout(Duration::from_secs(5), store.claim(&topology, &owner(2))).await.expect("nobody is waited for");
    assert_eq!(second.unwrap().epoch, Epoch(2));
}

#[tokio::test]
async fn a_claim_that_is_renewed_is_refused_to_others() {
    let url = Services::shared().redis_url();
    let (store, topology) = (store_with_lease(url, LEASE), unique_name("held"));
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

#[tokio::test]
async fn a_claim_that_is_not_renewed_is_waited_for_and_its_owner_fenced() {
    let url = Services::shared().redis_url();
    let (store, topology) = (store_with_lease(url, LEASE), unique_name("expired"));
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

#[tokio::test]
async fn a_claim_that_nobody_took_is_taken_again() {
    let url = Services::shared().redis_url();
    let (store, topology) = (store(url), unique_name("again"));
    let epoch = store.claim(&topology, &owner(1)).await.unwrap().epoch;
    let mut client = client(url).await;
    let keys = [format!("telemill:claim:{topology}"), format!("telemill:epoch:{topology}")];
    let _: () = redis::cmd("DEL").arg(&keys[0]).query_async(&mut client).await.unwrap();
    store.renew(&topology, &owner(1), epoch).await.expect("it ran out, and the epoch is still ours");
    // A server that came back without its newest writes.
    let _: () = redis::cmd("DEL").arg(&keys).query_async(&mut client).await.unwrap();
    store.renew(&topology, &owner(1), epoch).await.unwrap();
    let counter: u64 = redis::cmd("GET").arg(&keys[1]).query_async(&mut client).await.unwrap();
    assert_eq!(Epoch(counter), epoch);
}

#[tokio::test]
async fn the_claim_of_a_dead_process_of_this_host_is_taken_over_at_once() {
    let url = Services::shared().redis_url();
    let (store, topology) = (store(url), unique_name("dead"));
    let mut process = Command::new("true").spawn().unwrap();
    let dead = Owner { instance: Ulid::from_parts(1, 1), host: "here".to_owned(), pid: process.id() };
    process.wait().unwrap();
    store.claim(&topology, &dead).await.unwrap();
    let us = Owner { instance: Ulid::from_parts(1, 2), host: "here".to_owned(), pid: std::process::id() };
    let taken = timeout(Duration::from_secs(5), store.claim(&topology, &us)).await.expect("nobody is waited for");
    assert_eq!(taken.unwrap().epoch, Epoch(2));
}
