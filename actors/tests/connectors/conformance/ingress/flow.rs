//! What devices publish arrives: all of it, once, in order, as it was sent.

use std::collections::BTreeMap;

use telemill_engine::clock::Clock;
use telemill_engine::record::{Kind, Record};
use telemill_engine::source::Source;
use xxhash_rust::xxh3::xxh3_64;

use super::device::{Device, Version};
use super::{Harness, connected, nothing_comes_again, payloads, serving};
use crate::mqtt_support::{Ingress, soon};

const DEVICES: usize = 20;
const EACH: usize = 500;

/// Not as a JSON library would write it.
fn payload(number: usize) -> String {
    format!(r#"{{ "n" :{number}, "n": "\u00e4\/", "x":1.50e+2 }}"#)
}

/// Every fifth message is a hello.
fn word(number: usize) -> &'static str {
    if number % 5 == 4 { "hello" } else { "data" }
}

/// Everything that one device has to say.
async fn publish_all(mut device: Device, topics: BTreeMap<&'static str, String>) -> Device {
    for number in 0..EACH {
        device.publish(&topics[word(number)], payload(number)).await;
    }
    device.settled().await;
    device
}

/// Reads and acknowledges until there are `count` records.
async fn all<S: Source>(ingress: &mut Ingress<S>, count: usize) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    while records.len() < count {
        let batch = ingress.batch(512).await;
        assert!(batch.records.len() <= 512 && batch.rejected.is_empty());
        records.extend(batch.records.into_iter().filter(|record| record.kind != Kind::Mark));
        ingress.acknowledge(batch.tag).await;
    }
    records
}

/// Each message becomes a record: of its device, of the kind that its topic ends in, with its bytes, the time at which it
/// came, and an id; in the order in which the device sent it, whichever its topic. Ids and the numbers of the origins rise
/// over all devices.
pub(crate) async fn what_devices_publish_arrives_once_in_order_and_whole<H: Harness>() {
    let (harness, mut ingress) = serving::<H>().await;
    let began = Clock::system().now();
    let mut publishing = tokio::task::JoinSet::new();
    for number in 0..DEVICES {
        let version = if number % 2 == 0 { Version::V4 } else { Version::V5 };
        let name = format!("d{number}");
        let device = connected(&harness, &name, version).await;
        let topics = ["data", "hello"].map(|word| (word, harness.topic(&name, word)));
        publishing.spawn(publish_all(device, topics.into()));
    }
    let records = all(&mut ingress, DEVICES * EACH).await;
    let mut device = soon("the devices' PUBACKs", publishing.join_all()).await.swap_remove(0);

    let session = records[0].origin.unwrap().slot_session;
    let mut next: BTreeMap<&str, usize> = BTreeMap::new();
    for (record, delivery) in records.iter().zip(1..) {
        let number = next.entry(record.device.as_str()).or_default();
        assert_eq!(record.payload, payload(*number), "of {}", record.device);
        assert_eq!(record.kind.as_str(), word(*number), "{} of {}", number, record.device);
        *number += 1;
        let origin = record.origin.unwrap();
        assert_eq!((origin.slot, origin.slot_session, origin.delivery), (0, session, delivery));
        assert_ne!(origin.packet_id, 0);
        let topic = harness.topic(record.device.as_str(), record.kind.as_str());
        assert_eq!(origin.payload_hash, xxh3_64(&[topic.as_bytes(), b"\0", &record.payload[..]].concat()));
    }
    assert!(next.len() == DEVICES && next.values().all(|count| *count == EACH), "{next:?}");
    assert!(records.is_sorted_by(|a, b| a.id < b.id), "ids rise in the order of arrival");
    assert!(records.is_sorted_by_key(|record| record.received_at));
    let arrived = began..=Clock::system().now();
    assert!([&records[0], &records[records.len() - 1]].iter().all(|record| arrived.contains(&record.received_at)));
    nothing_comes_again(&harness, ingress, &mut device).await;
}

/// At QoS 0 there is nothing to acknowledge, and nobody to send it again; else it is a message like any other.
pub(crate) async fn messages_at_qos_0_are_taken_as_they_come<H: Harness>() {
    let (harness, mut ingress) = serving::<H>().await;
    let mut device = connected(&harness, "d1", Version::V5).await;
    let topic = harness.topic("d1", "data");
    device.fire(&topic, "0").await;
    device.publish(&topic, "1").await;
    device.fire(&topic, "2").await;
    let (records, tag) = ingress.take(3).await;
    assert_eq!(payloads(&records), ["0", "1", "2"]);
    let origins: Vec<_> = records.iter().map(|record| record.origin.unwrap()).collect();
    let expected = [(1, true), (2, false), (3, true)];
    assert_eq!(origins.iter().map(|o| (o.delivery, o.packet_id == 0)).collect::<Vec<_>>(), expected);
    ingress.acknowledge(tag).await;
    nothing_comes_again(&harness, ingress, &mut device).await;
}

/// Whoever is there to hear a message does not care whether it is kept for others, or that nothing more is to be kept.
pub(crate) async fn a_retained_message_is_taken_when_it_is_published<H: Harness>() {
    let (harness, mut ingress) = serving::<H>().await;
    let mut device = connected(&harness, "d1", Version::V4).await;
    let topic = harness.topic("d1", "hello");
    device.retain(&topic, "1").await;
    device.publish(&topic, "2").await;
    device.retain(&topic, "").await;
    let (records, tag) = ingress.take(3).await;
    assert_eq!(payloads(&records), ["1", "2", ""]);
    ingress.acknowledge(tag).await;
    nothing_comes_again(&harness, ingress, &mut device).await;
}
