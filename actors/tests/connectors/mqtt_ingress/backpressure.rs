//! A reader that does not read: memory stays bounded, nothing is lost, and the connection lives on.

use bytes::BytesMut;
use rumqttc::{Packet, Publish, QoS};

use crate::mqtt_support::{Peer, Scripted, Site};

#[tokio::test]
async fn a_flood_at_qos_0_is_stopped_at_the_socket() {
    let broker = Scripted::start().await;
    let mut site = Site::new(&broker.url()).with_keep_alive(1);
    site.connection.max_inflight = 10;
    let mut ingress = site.build().await;
    let mut peer = broker.accept_new().await;

    // Far more than the intake holds and the sockets buffer.
    const FLOOD: usize = 200_000;
    let mut flood = BytesMut::new();
    for number in 0..FLOOD {
        let publish = Publish::new(site.data("d1"), QoS::AtMostOnce, format!("\"{number:0100}\""));
        Packet::Publish(publish).write(&mut flood, 10 << 20).unwrap();
    }
    let mut sent = 0;
    // The client takes what it has room for, and still pings for two keep-alives and more.
    let mut pings = 0;
    while pings < 10 {
        sent += peer.send_now(&flood[sent..]);
        assert!(matches!(peer.packet().await, Some(Packet::PingReq)));
        pings += 1;
    }
    assert!(sent < flood.len(), "all of {} bytes were taken", flood.len());

    let rest = flood.split_off(sent).freeze();
    let sending = tokio::spawn(async move {
        peer.send_bytes(&rest).await;
        peer
    });
    let mut next = 0;
    while next < FLOOD {
        let (records, _) = ingress.take(1).await;
        assert_eq!(records[0].payload, format!("\"{next:0100}\""));
        next += 1;
        let (records, _) = ingress.take_up_to(1000).await;
        for record in records {
            assert_eq!(record.payload, format!("\"{next:0100}\""));
            next += 1;
        }
    }
    let mut peer = sending.await.unwrap();
    peer.send([Peer::message(1, &site.data("d1"), "\"last\"", false)]).await;
    ingress.expect_next("\"last\"").await;
    assert_eq!(peer.acks(1).await, [1], "it is still the same connection");
}

#[tokio::test]
async fn a_full_window_does_not_keep_the_client_from_pinging_and_acknowledging() {
    let broker = Scripted::start().await;
    let mut site = Site::new(&broker.url()).with_keep_alive(1);
    site.connection.max_inflight = 100;
    let mut ingress = site.build().await;
    let mut peer = broker.accept_new().await;
    peer.send((1..=100).map(|id| Peer::message(id, &site.data("d1"), &id.to_string(), false))).await;
    for _ in 0..10 {
        assert!(matches!(peer.packet().await, Some(Packet::PingReq)));
        peer.send([Packet::PingResp]).await;
    }
    let (_, tag) = ingress.take(100).await;
    ingress.acknowledge(tag).await;
    assert!(peer.acks(100).await.into_iter().eq(1..=100));
}

#[tokio::test]
async fn a_broker_that_goes_silent_is_left_for_a_new_connection() {
    let broker = Scripted::start().await;
    let site = Site::new(&broker.url()).with_keep_alive(1);
    let _ingress = site.build().await;
    let mut peer = broker.accept_new().await;
    // Pings are read and not answered.
    while peer.packet().await.is_some() {}
    broker.accept(true).await;
}
