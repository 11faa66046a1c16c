//! How a claim is stored, and what becomes of it on a server that forgot.

use telemill_engine::checkpoint::StateStore;
use telemill_engine::position::Epoch;
use telemill_services::{Services, unique_name};

use super::store;
use crate::conformance::state::owner;
use crate::redis_support::client;

#[tokio::test]
async fn a_claim_is_stored_as_written_down() {
    let url = Services::shared().redis_url();
    let (store, topology) = (store(url), unique_name("claim"));
    store.claim(&topology, &owner(1)).await.unwrap();
    let mut client = client(url).await;
    let stored: String =
        redis::cmd("GET").arg(format!("telemill:claim:{topology}")).query_async(&mut client).await.unwrap();
    assert_eq!(stored, r#"{"instance":"00000000010000000000000001","host":"host-1","pid":1,"epoch":1}"#);
    let ttl: u64 = redis::cmd("PTTL").arg(format!("telemill:claim:{topology}")).query_async(&mut client).await.unwrap();
    assert!(ttl <= 10_000, "{ttl}");
    let counter: u64 =
        redis::cmd("GET").arg(format!("telemill:epoch:{topology}")).query_async(&mut client).await.unwrap();
    assert_eq!(counter, 1);
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
