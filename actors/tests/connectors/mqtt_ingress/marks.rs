//! Proofs of time, before a broker that lives and one that hangs.

use std::time::Duration;

use serde::Deserialize;
use telemill_actors::mqtt_ingress::MqttIngress;
use telemill_engine::record::Kind;
use telemill_services::Mosquitto;
use tokio::time::Instant;
use ulid::Ulid;

use crate::mqtt_support::{Ingress, Site};

#[derive(Debug, Deserialize)]
struct Mark {
    slot_session: Ulid,
    since: u64,
    time: u64,
}

async fn next_mark(ingress: &mut Ingress<MqttIngress>) -> Mark {
    let batch = ingress.batch(1).await;
    let record = &batch.records[0];
    assert_eq!((&record.kind, record.device.as_str()), (&Kind::Mark, "mark"));
    let mark: Mark = serde_json::from_slice(&record.payload).unwrap();
    assert_eq!(record.received_at.0, mark.time);
    ingress.acknowledge(batch.tag).await;
    mark
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
