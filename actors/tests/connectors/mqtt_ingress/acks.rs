//! Acknowledgements on the wire.

use crate::mqtt_support::{Peer, Scripted, Site};

#[tokio::test]
async fn a_batch_is_acknowledged_in_order_and_in_one_write() {
    let broker = Scripted::start().await;
    let site = Site::new(&broker.url());
    let mut ingress = site.build().await;
    let mut peer = broker.accept_new().await;
    let messages = (1..=300).map(|id| Peer::message(id, &site.data("d1"), &id.to_string(), false));
    peer.send(messages).await;
    let (_, tag) = ingress.take(300).await;
    ingress.acknowledge(tag).await;
    assert!(peer.acks(300).await.into_iter().eq(1..=300));
    // 300 acknowledgements are 1200 bytes; they were in the socket at once, or with a ping between.
    assert!(peer.reads() <= 3, "{} reads", peer.reads());
}

#[tokio::test]
async fn nothing_is_acknowledged_before_its_turn() {
    let broker = Scripted::start().await;
    let site = Site::new(&broker.url());
    let mut ingress = site.build().await;
    let mut peer = broker.accept_new().await;
    // The second is of no template and waits for nothing but the first.
    peer.send([
        Peer::message(1, &site.data("d1"), "1", false),
        Peer::message(2, "elsewhere/d1/data", "2", false),
        Peer::message(3, &site.data("d1"), "3", false),
    ])
    .await;
    let (_, first) = ingress.take(1).await;
    let (_, second) = ingress.take(1).await;
    peer.expect_only_pings().await;
    ingress.acknowledge(first).await;
    assert_eq!(peer.acks(2).await, [1, 2]);
    peer.expect_only_pings().await;
    ingress.acknowledge(second).await;
    assert_eq!(peer.acks(1).await, [3]);
}

#[tokio::test]
async fn an_outcome_from_before_a_reconnect_acknowledges_only_what_has_come_again() {
    let broker = Scripted::start().await;
    let site = Site::new(&broker.url());
    let mut ingress = site.build().await;
    let mut peer = broker.accept_new().await;
    peer.send((1..=3).map(|id| Peer::message(id, &site.data("d1"), &id.to_string(), false))).await;
    let (_, tag) = ingress.take(3).await;
    drop(peer);
    let mut peer = broker.accept(true).await;
    // The broker uses the id 2 for something new before it has sent the old ones again.
    peer.send([Peer::message(2, &site.data("d1"), "\"new\"", false)]).await;
    let (_, new) = ingress.take(1).await;
    ingress.acknowledge(tag).await;
    peer.expect_only_pings().await;
    peer.send([Peer::message(1, &site.data("d1"), "1", true), Peer::message(3, &site.data("d1"), "3", true)]).await;
    peer.expect_only_pings().await;
    ingress.acknowledge(new).await;
    assert_eq!(peer.acks(3).await, [2, 1, 3]);
}

#[tokio::test]
async fn a_graceful_end_acknowledges_first_and_then_says_goodbye() {
    let broker = Scripted::start().await;
    let site = Site::new(&broker.url());
    let mut ingress = site.build().await;
    let mut peer = broker.accept_new().await;
    peer.send((1..=3).map(|id| Peer::message(id, &site.data("d1"), &id.to_string(), false))).await;
    let (_, tag) = ingress.take(2).await;
    ingress.acknowledge(tag).await;
    let broker = async {
        assert_eq!(peer.acks(2).await, [1, 2]);
        assert_eq!(peer.next().await, Some(rumqttc::Packet::Disconnect));
        // What comes too late is read, or the socket would be reset and the acknowledgements with it.
        peer.send([Peer::message(4, &site.data("d1"), "4", false)]).await;
        peer.expect_only_pings().await;
        drop(peer);
    };
    tokio::join!(ingress.close(), broker);
}

#[tokio::test]
async fn what_mqtt_does_not_allow_ends_the_connection() {
    let broker = Scripted::start().await;
    let site = Site::new(&broker.url());
    let _ingress = site.build().await;
    let mut peer = broker.accept_new().await;
    let mut publish = rumqttc::Publish::new(site.data("d1"), rumqttc::QoS::ExactlyOnce, "1");
    publish.pkid = 1;
    peer.send([rumqttc::Packet::Publish(publish)]).await;
    assert_eq!(peer.next().await, None);
    broker.accept(true).await;
}
