//! What a broker keeps for the ingress, and what it keeps for everybody: queued and retained messages.

use std::time::Duration;

use telemill_services::{Mosquitto, Services};

use crate::mqtt_support::{Counters, Publisher, Site, soon};

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
