//! Records at fault are named; their neighbours are delivered.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;
use telemill_actors::kafka_router::KafkaRouter;
use telemill_engine::record::{DeadReason, Kind, Reason, Record};
use telemill_engine::sink::{Completion, Sink, Submitted};
use telemill_engine::stage::Component;
use telemill_engine::testing::record;

use super::Routed;
use crate::kafka_support::{Site, answer, batch, delivered, of_kind};

fn of_size(number: usize, bytes: usize) -> Record {
    let mut record = record("d1", number);
    record.payload = format!("\"{}\"", "x".repeat(bytes)).into();
    record
}

async fn rejected(completion: Completion) -> Vec<(usize, Reason, bool)> {
    match answer(completion).await {
        Submitted::Rejected { records, others_applied: true } => {
            records.into_iter().map(|r| (r.index, r.reason, r.permanent)).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_kind_without_a_route_is_rejected() {
    let routed = Routed::new(1);
    let mut router = routed.router().await;
    let records = vec![record("d1", 1), of_kind(record("d1", 2), "status"), record("d1", 3)];
    let rejections = rejected(router.submit(batch(records)).await).await;
    assert_eq!(rejections, [(1, Reason("no_route"), true)]);
    assert_eq!(routed.site.read(&routed.data).len(), 2);
}

#[tokio::test]
async fn a_mark_that_is_none_is_rejected() {
    let mut routed = Routed::new(1);
    let marks = routed.site.topic("marks", 1);
    routed.site.marks = Some(routed.site.topics.get(&marks));
    let mut router = routed.router().await;
    let mut mark = record("d1", 1);
    mark.kind = Kind::Mark;
    let rejections = rejected(router.submit(batch(vec![mark])).await).await;
    assert_eq!(rejections, [(0, Reason::BAD_ENVELOPE, true)]);
}

#[tokio::test]
async fn what_is_in_the_dead_letters_already_is_left_out() {
    let routed = Routed::new(1);
    let mut router = routed.router().await;
    let mut dead = record("d1", 1);
    dead.dead = Some(Arc::new(DeadReason {
        reason: Reason::PANIC,
        detail: "".into(),
        stage: "router".into(),
        attempts: 3,
        source: Bytes::new(),
    }));
    delivered(router.submit(batch(vec![dead, record("d1", 2)])).await).await;
    assert_eq!(routed.site.read(&routed.data).len(), 1);
}

#[tokio::test]
async fn a_record_too_large_for_the_client_is_rejected_and_its_neighbours_are_delivered() {
    let routed = Routed::new(1);
    let mut router = routed.router().await;
    let records = vec![record("d1", 1), of_size(2, 1 << 20), record("d1", 3)];
    let first = router.submit(batch(records)).await;
    let second = router.submit(batch(vec![record("d1", 4)])).await;
    assert_eq!(rejected(first).await, [(1, Reason::TOO_LARGE, true)]);
    delivered(second).await;
    let numbers: Vec<_> = routed.site.read(&routed.data).iter().map(|m| m.json()["payload"]["n"].clone()).collect();
    assert_eq!(numbers, [1, 3, 4]);
}

#[tokio::test]
async fn a_record_too_large_for_its_topic_is_rejected_and_its_neighbours_are_delivered_in_order() {
    let mut site = Site::shared();
    let small = site.declare("small", |topic| (topic.partitions, topic.max_message_bytes) = (1, Some(20_000)));
    let large = site.declare("large", |topic| (topic.partitions, topic.max_message_bytes) = (1, Some(200_000)));
    let routes = json!({ "data": small, "hello": large });
    let checked = site.check::<KafkaRouter>(json!({ "connection": "log", "routes": routes }));
    let mut router = KafkaRouter::build(&checked, &site.cx()).await.unwrap();

    let records = vec![record("d1", 1), of_size(2, 100_000), record("d1", 3), of_kind(of_size(4, 100_000), "hello")];
    let first = router.submit(batch(records)).await;
    let second = router.submit(batch((5..50).map(|n| record("d1", n)).collect())).await;
    assert_eq!(rejected(first).await, [(1, Reason::TOO_LARGE, true)]);
    delivered(second).await;
    let numbers: Vec<_> = site.read(&small).iter().map(|m| m.json()["payload"]["n"].as_u64().unwrap()).collect();
    let expect: Vec<u64> = [1, 3].into_iter().chain(5..50).collect();
    assert_eq!(numbers, expect);
    assert_eq!(site.read(&large).len(), 1);
}
