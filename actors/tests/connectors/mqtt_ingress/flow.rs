//! The common way: what is published is read once, in order, and acknowledged.

use std::collections::BTreeMap;
use std::time::Duration;

use telemill_engine::record::{Kind, Record};
use telemill_services::{Mosquitto, Services};

use crate::mqtt_support::{Counters, Publisher, Site, soon};

#[tokio::test]
async fn twenty_thousand_messages_arrive_once_and_in_order_and_are_acknowledged() {
    const DEVICES: usize = 50;
    const EACH: usize = 400;
    let url = Services::shared().mqtt_url();
    let site = Site::new(url);
    let mut ingress = site.build_subscribed().await;

    let topics: Vec<String> = (0..DEVICES).map(|device| site.data(&format!("d{device}"))).collect();
    let publishing = tokio::spawn({
        let url = url.to_owned();
        async move {
            let mut devices = Publisher::connect(&url).await;
            for number in 0..EACH {
                for topic in &topics {
                    devices.send(topic, format!(r#"{{"n": {number}}}"#)).await;
                }
            }
            devices.settled().await;
        }
    });
    let mut records: Vec<Record> = Vec::new();
    while records.len() < DEVICES * EACH {
        let batch = ingress.batch(512).await;
        assert!(batch.records.len() <= 512 && batch.rejected.is_empty());
        records.extend(batch.records.into_iter().filter(|record| record.kind != Kind::Mark));
        ingress.acknowledge(batch.tag).await;
    }
    soon("the publisher's end", publishing).await.unwrap();

    let mut next: BTreeMap<String, usize> = BTreeMap::new();
    let session = site.store.slot().unwrap().slot_session;
    for (record, delivery) in records.iter().zip(1..) {
        let number = next.entry(record.device.to_string()).or_default();
        assert_eq!(record.payload, format!(r#"{{"n": {number}}}"#), "of {}", record.device);
        *number += 1;
        let origin = record.origin.unwrap();
        assert_eq!((origin.slot, origin.slot_session, origin.delivery), (0, session, delivery));
        assert_ne!(origin.packet_id, 0);
    }
    assert!(next.len() == DEVICES && next.values().all(|count| *count == EACH));
    assert!(records.is_sorted_by(|a, b| a.id < b.id), "ids rise in the order of arrival");

    // All of it is acknowledged: the next to read the session finds only what came since.
    ingress.close().await;
    let mut devices = Publisher::connect(url).await;
    devices.send(&site.data("d0"), "\"last\"").await;
    devices.settled().await;
    site.build().await.expect_next("\"last\"").await;
}

#[tokio::test]
async fn what_is_published_while_the_ingress_is_away_waits_for_it() {
    let url = Services::shared().mqtt_url();
    let site = Site::new(url);
    site.build_subscribed().await.close().await;
    let mut devices = Publisher::connect(url).await;
    for number in 0..500 {
        devices.send(&site.data("d1"), number.to_string()).await;
    }
    devices.settled().await;
    let (records, tag) = {
        let mut ingress = site.build().await;
        let taken = ingress.take(500).await;
        ingress.acknowledge(taken.1).await;
        ingress.close().await;
        taken
    };
    let numbers: Vec<usize> =
        records.iter().map(|r| std::str::from_utf8(&r.payload).unwrap().parse().unwrap()).collect();
    assert!(numbers.iter().copied().eq(0..500), "{numbers:?}");
    assert!(tag >= 1);
}

#[tokio::test]
async fn a_broker_that_is_not_there_yet_is_waited_for() {
    let broker = Mosquitto::start();
    let site = Site::new(&broker.url());
    broker.terminate();
    let mut ingress = site.build().await;
    let waiting = tokio::time::timeout(Duration::from_millis(500), ingress.reader_next()).await;
    assert!(waiting.is_err(), "nothing to read and no error");
    broker.restart();
    let mut devices = Publisher::connect(&broker.url()).await;
    let subscribed = async {
        while !site.store.slot().is_some_and(|slot| slot.subscribed) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = soon("the subscription", subscribed) => {}
        event = ingress.reader_next() => panic!("{event:?}"),
    }
    devices.send(&site.data("d1"), "1").await;
    ingress.expect_next("1").await;
}

#[tokio::test]
async fn retained_messages_are_taken_only_where_the_topology_says_so() {
    let url = Services::shared().mqtt_url();
    let mut devices = Publisher::connect(url).await;
    for (accept_retained, ignored) in [(false, 1), (true, 0)] {
        let counters = Counters::default();
        let _recording = metrics::set_default_local_recorder(&counters);
        let mut site = Site::new(url);
        site.accept_retained = accept_retained;
        devices.retain(&site.data("d1"), "\"retained\"").await;
        devices.settled().await;
        let mut ingress = site.build_subscribed().await;
        devices.send(&site.data("d1"), "\"live\"").await;
        if accept_retained {
            ingress.expect_next("\"retained\"").await;
        }
        ingress.expect_next("\"live\"").await;
        assert_eq!(counters.get("telemill_mqtt_ignored_total", "retained"), ignored);
        ingress.close().await;
        // It was acknowledged, or it would come again.
        devices.send(&site.data("d1"), "\"after\"").await;
        site.build().await.expect_next("\"after\"").await;
        devices.retain(&site.data("d1"), "").await;
    }
}

#[tokio::test]
async fn messages_at_qos_0_are_taken_as_they_come() {
    let url = Services::shared().mqtt_url();
    let site = Site::new(url);
    let mut ingress = site.build_subscribed().await;
    let mut devices = Publisher::connect(url).await;
    devices.fire(&site.data("d1"), "0").await;
    devices.send(&site.data("d1"), "1").await;
    let (records, _) = ingress.take(2).await;
    let origins: Vec<_> = records.iter().map(|r| r.origin.unwrap()).collect();
    assert_eq!(origins.iter().map(|o| (o.delivery, o.packet_id == 0)).collect::<Vec<_>>(), [(1, true), (2, false)]);
}
