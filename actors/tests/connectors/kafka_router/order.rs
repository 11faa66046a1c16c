//! Everything arrives once and in order, with several batches in flight.

use std::collections::{HashMap, VecDeque};

use serde_json::json;
use telemill_actors::kafka_router::KafkaRouter;
use telemill_engine::sink::Sink;
use telemill_engine::stage::Component;
use telemill_engine::testing::record;

use super::Routed;
use crate::kafka_support::{Site, batch, delivered};

const RECORDS: usize = 20_000;
const DEVICES: usize = 200;

fn check_order(written: &[crate::kafka_support::Message], devices: usize, records: usize) {
    let mut numbers: HashMap<String, Vec<u64>> = HashMap::new();
    for message in written {
        let number = message.json()["payload"]["n"].as_u64().unwrap();
        numbers.entry(message.key.clone().unwrap()).or_default().push(number);
    }
    assert_eq!(numbers.len(), devices);
    for (device, numbers) in numbers {
        let first = numbers[0];
        let expect: Vec<_> = (first..records as u64).step_by(devices).collect();
        assert_eq!(numbers, expect, "{device}");
    }
}

#[tokio::test]
async fn every_record_arrives_once_and_in_order() {
    let routed = Routed::new(12);
    let mut router = routed.router().await;
    let all: Vec<_> = (0..RECORDS).map(|n| record(&format!("d{}", n % DEVICES), n)).collect();
    let mut in_flight = VecDeque::new();
    for records in all.chunks(512) {
        if in_flight.len() == Sink::window(&router) {
            delivered(in_flight.pop_front().unwrap()).await;
        }
        in_flight.push_back(router.submit(batch(records.to_vec())).await);
    }
    for completion in in_flight {
        delivered(completion).await;
    }
    check_order(&routed.site.read(&routed.data), DEVICES, RECORDS);
}

#[tokio::test]
async fn a_full_queue_slows_and_does_not_reorder() {
    const RECORDS: usize = 4_000;
    let mut site = Site::shared();
    let topic = site.topic("narrow", 3);
    // The smallest buffer there is: it holds a few dozen of these records.
    let spec = json!({ "connection": "log", "topic": topic, "buffer": "1MiB" });
    let mut router = KafkaRouter::build(&site.check::<KafkaRouter>(spec), &site.cx()).await.unwrap();
    let padding = "x".repeat(16_000);
    let padded = |n: usize| {
        let mut record = record(&format!("d{}", n % 10), n);
        record.payload = format!(r#"{{"n":{n},"padding":"{padding}"}}"#).into();
        record
    };
    let mut completions = Vec::new();
    for first in (0..RECORDS).step_by(500) {
        let submitted = router.submit(batch((first..first + 500).map(padded).collect()));
        completions.push(submitted.await);
    }
    for completion in completions {
        delivered(completion).await;
    }
    check_order(&site.read(&topic), 10, RECORDS);
}

#[tokio::test]
async fn a_cancelled_call_loses_nothing() {
    let mut site = Site::shared();
    let topic = site.topic("cancelled", 1);
    let spec = json!({ "connection": "log", "topic": topic, "buffer": "1MiB" });
    let mut router = KafkaRouter::build(&site.check::<KafkaRouter>(spec), &site.cx()).await.unwrap();
    let padding = "x".repeat(100_000);
    let padded = |n: usize| {
        let mut record = record("d0", n);
        record.payload = format!(r#"{{"n":{n},"padding":"{padding}"}}"#).into();
        record
    };
    {
        let mut first = Box::pin(router.submit(batch((0..200).map(padded).collect())));
        let once = futures_util::poll!(&mut first);
        assert!(once.is_pending(), "the batch is larger than the queue");
    }
    delivered(router.submit(batch((200..210).map(padded).collect())).await).await;
    check_order(&site.read(&topic), 1, 210);
}
