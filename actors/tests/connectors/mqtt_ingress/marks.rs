//! Proofs of time, before a broker that lives and one that hangs.

use std::time::Duration;

use serde::Deserialize;
use telemill_engine::record::Kind;
use telemill_services::Mosquitto;
use tokio::time::Instant;
use ulid::Ulid;

use crate::mqtt_support::{Ingress, Publisher, Site};

#[derive(Debug, Deserialize)]
struct Mark {
    slot: u16,
    slot_session: Ulid,
    since: u64,
    time: u64,
}

async fn next_mark(ingress: &mut Ingress) -> Mark {
    let batch = ingress.batch(1).await;
    let record = &batch.records[0];
    assert_eq!((&record.kind, record.device.as_str()), (&Kind::Mark, "mark"));
    let mark: Mark = serde_json::from_slice(&record.payload).unwrap();
    assert_eq!(record.received_at.0, mark.time);
    ingress.acknowledge(batch.tag).await;
    mark
}

#[tokio::test]
async fn a_live_session_covers_all_time_second_by_second() {
    let broker = Mosquitto::start();
    let site = Site::new(&broker.url());
    let mut ingress = site.build_subscribed().await;
    let first = next_mark(&mut ingress).await;
    let second = next_mark(&mut ingress).await;
    assert_eq!((first.slot, first.slot_session), (0, site.store.slot().unwrap().slot_session));
    assert_eq!(first.time, second.since);
    assert!((900..1900).contains(&(second.time - second.since)), "{second:?}");

    // A mark stands behind what arrived before it.
    let mut devices = Publisher::connect(&broker.url()).await;
    devices.send(&site.data("d1"), "1").await;
    devices.settled().await;
    let mut kinds = Vec::new();
    while kinds.last() != Some(&Kind::Mark) || !kinds.contains(&Kind::Data) {
        kinds.extend(ingress.batch(1).await.records.into_iter().map(|record| record.kind));
    }
    assert_eq!(kinds.iter().filter(|kind| **kind == Kind::Data).count(), 1);
}

#[tokio::test]
async fn a_broker_that_hangs_stops_time_and_a_later_span_follows() {
    let broker = Mosquitto::start();
    let site = Site::new(&broker.url()).with_keep_alive(1);
    let mut ingress = site.build_subscribed().await;
    let before = next_mark(&mut ingress).await;
    broker.stop();
    // What was heard last proves one keep-alive more, at most.
    let mut last = before.time;
    let hanging = Instant::now();
    while let Ok(mark) = tokio::time::timeout(Duration::from_secs(3), next_mark(&mut ingress)).await {
        assert!(hanging.elapsed() < Duration::from_secs(3), "{mark:?} while the broker hangs");
        last = mark.time;
    }
    broker.cont();
    let after = next_mark(&mut ingress).await;
    assert!(after.since >= last + 2_000, "{after:?} behind {last}");
    assert_eq!(after.slot_session, before.slot_session);
}

#[tokio::test]
async fn a_broker_that_stops_stops_time_at_once() {
    let broker = Mosquitto::start();
    let site = Site::new(&broker.url());
    let mut ingress = site.build_subscribed().await;
    let before = next_mark(&mut ingress).await;
    broker.terminate();
    let silent = tokio::time::timeout(Duration::from_millis(2500), ingress.reader_next()).await;
    assert!(silent.is_err(), "{silent:?}");
    broker.restart();
    let after = next_mark(&mut ingress).await;
    assert!(after.since >= before.time + 2_000, "{after:?} behind {before:?}");
}
