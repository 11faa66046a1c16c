//! What comes as bytes: a packet in pieces, and one that cannot be read.

use crate::mqtt_support::{Peer, Scripted, Site};

/// Every acknowledgement that goes out interrupts the reading of the packet that is half there.
#[tokio::test]
async fn a_packet_in_pieces_is_read_whole_while_acknowledgements_go_out() {
    let broker = Scripted::start().await;
    let site = Site::new(&broker.url());
    let mut ingress = site.build().await;
    let mut peer = broker.accept_new().await;
    let in_pieces = Peer::bytes([Peer::message(1000, &site.data("d1"), "\"in pieces\"", false)]);
    let mut tags = Vec::new();
    for id in (1..).take(in_pieces.len()) {
        peer.send([Peer::message(id, &site.data("d1"), &id.to_string(), false)]).await;
        tags.push((id, ingress.take(1).await.1));
    }
    for (byte, (id, tag)) in in_pieces.chunks(1).zip(tags) {
        peer.send_bytes(byte).await;
        ingress.acknowledge(tag).await;
        assert_eq!(peer.acks(1).await, [id]);
    }
    ingress.expect_next("\"in pieces\"").await;
    assert_eq!(peer.acks(1).await, [1000]);
}

#[tokio::test]
async fn a_topic_that_is_not_utf8_is_not_acknowledged_and_the_next_connection_goes_on() {
    let broker = Scripted::start().await;
    let site = Site::new(&broker.url());
    let mut ingress = site.build().await;
    let mut peer = broker.accept_new().await;
    peer.until(|| site.store.slot().is_some_and(|slot| slot.subscribed)).await;
    let (publish_at_qos_1, rest, topic, packet_id) = (0x32, 7, [0xff, 0xfe], 1);
    peer.send_bytes(&[publish_at_qos_1, rest, 0, 2, topic[0], topic[1], 0, packet_id, b'1']).await;
    assert!(peer.next().await.is_none(), "what cannot be read has no place in an order");
    let mut peer = broker.accept(true).await;
    peer.send([Peer::message(2, &site.data("d1"), "2", false)]).await;
    ingress.expect_next("2").await;
    assert_eq!(peer.acks(1).await, [2]);
}
