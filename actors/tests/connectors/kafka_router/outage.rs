//! The broker goes away and comes back: nothing is lost, doubled or reordered, and nothing has to be rebuilt.

use std::time::Duration;

use serde_json::json;
use telemill_actors::kafka_router::KafkaRouter;
use telemill_engine::sink::Sink;
use telemill_engine::stage::{BuildError, Component};
use telemill_engine::testing::record;
use telemill_services::Kafka;

use super::Routed;
use crate::kafka_support::{Site, batch, delivered};

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_waited_out() {
    let kafka = Kafka::start();
    let routed = Routed::at(Site::on(&kafka.brokers()), 1);
    let mut router = routed.router().await;
    delivered(router.submit(batch(vec![record("d1", 0)])).await).await;

    kafka.kill9();
    let mut waiting = Vec::new();
    for first in (1..400).step_by(100) {
        let records = (first..first + 100).map(|n| record("d1", n)).collect();
        waiting.push(router.submit(batch(records)).await);
    }
    let answered = tokio::time::timeout(Duration::from_secs(3), &mut waiting[0]).await;
    assert!(answered.is_err(), "nothing is answered meanwhile: {answered:?}");
    kafka.restart();
    for completion in waiting {
        delivered(completion).await;
    }
    assert_eq!(routed.numbers(), (0..=400).collect::<Vec<_>>());
}

/// As over a link that is half open: nothing answers, and nothing says so. The pause is longer than the broker's own
/// session, so that a client that asks at once hears of a cluster without brokers: some clients of librdkafka 2.12, more
/// of them the longer the answer, never ask again by themselves. Several, so that one of them is likely to be that one.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_stands_still_is_waited_for() {
    let kafka = Kafka::start();
    let mut routers = Vec::new();
    for _ in 0..8 {
        let routed = Routed::at(Site::on(&kafka.brokers()), 24);
        let mut router = routed.router().await;
        delivered(router.submit(batch(vec![record("d1", 0)])).await).await;
        routers.push((routed, router));
    }
    kafka.stop();
    let mut waiting = Vec::new();
    for (_, router) in &mut routers {
        waiting.push(router.submit(batch((1..100).map(|n| record("d1", n)).collect())).await);
    }
    let answered = tokio::time::timeout(Duration::from_secs(5), &mut waiting[0]).await;
    assert!(answered.is_err(), "nothing is answered meanwhile: {answered:?}");
    kafka.cont();
    // Traffic goes on while the broker is fenced and let in again, which takes it some 3 s.
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    for next in 100..500 {
        pace.tick().await;
        for (_, router) in &mut routers {
            waiting.push(router.submit(batch(vec![record("d1", next)])).await);
        }
    }
    for completion in waiting {
        delivered(completion).await;
    }
    for (routed, _) in &routers {
        assert_eq!(routed.numbers(), (0..500).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_router_without_a_broker_is_unavailable_in_bounded_time() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut site = Site::on(&silent.local_addr().unwrap().to_string());
    let topic = site.topic("nowhere", 1);
    let checked = site.check::<KafkaRouter>(json!({ "connection": "log", "topic": topic }));
    let built = tokio::time::timeout(Duration::from_secs(30), KafkaRouter::build(&checked, &site.cx())).await;
    match built.expect("the answer comes in bounded time") {
        Err(BuildError::Unavailable(why)) => assert!(why.contains(&site.brokers), "{why}"),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("built without a broker"),
    }
}
