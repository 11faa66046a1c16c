//! Sessions that are kept, taken over and ended; commands over all of it; wills.

use telemill_engine::context::Connections;
use telemill_engine::sink::Submitted;
use telemill_engine::source::Acker;
use tokio::io::AsyncReadExt;

use super::fixture::{Endpoint, Site};
use crate::mqtt_support::raw::{Raw, SILENCE, connect, field, packet, publish, subscribe};
use crate::mqtt_support::{Ingress, soon};

/// A command as version 4 has it on the wire.
fn on_wire(dup: bool, packet_id: u16, payload: &str) -> Vec<u8> {
    let first = if dup { 0x3a } else { 0x32 };
    packet(first, &[&field("devices/d1/commands"), &packet_id.to_be_bytes(), payload.as_bytes()])
}

async fn subscribed(port: u16, clean: bool) -> Raw {
    let (mut raw, _) = Raw::connected(port, 4, "d1", clean, 60).await;
    raw.send(&subscribe(4, 1, "devices/d1/commands", 1)).await;
    assert_eq!(raw.packet().await, [0x90, 3, 0, 1, 1]);
    raw
}

async fn gone(mut raw: Raw) {
    raw.send(&[0xe0, 0]).await;
    assert_eq!(raw.rest().await, SILENCE);
}

fn reason(submitted: &Submitted) -> &str {
    match submitted {
        Submitted::Delivered => "delivered",
        Submitted::Rejected { records, others_applied: true } => records[0].reason.0,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_kept_session_gets_its_commands_over_reconnects_and_restarts() {
    let site = Site::new();
    let mut endpoint = site.start().await;
    let mut raw = subscribed(endpoint.port, false).await;
    assert_eq!(reason(&endpoint.command("d1", "one").await), "delivered", "it is on disk");
    assert_eq!(raw.packet().await, on_wire(false, 1, "one"));
    gone(raw).await;
    assert_eq!(reason(&endpoint.command("d1", "two").await), "delivered");

    let (mut raw, present) = Raw::connected(endpoint.port, 4, "d1", false, 60).await;
    assert!(present);
    assert_eq!(raw.packet().await, on_wire(true, 1, "one"), "not acknowledged: again, under the same packet id");
    assert_eq!(raw.packet().await, on_wire(false, 2, "two"));
    raw.send(&[0x40, 2, 0, 1]).await;
    raw.only_pong().await;
    // The removal of what is acknowledged is written behind; the subscription that follows it is waited for.
    raw.send(&subscribe(4, 2, "devices/d1/commands", 1)).await;
    assert_eq!(raw.packet().await, [0x90, 3, 0, 2, 1]);
    endpoint.crash().await;
    drop(raw);

    let mut endpoint = site.start().await;
    assert_eq!(reason(&endpoint.command("d1", "three").await), "delivered");
    let (mut raw, present) = Raw::connected(endpoint.port, 4, "d1", false, 60).await;
    assert!(present);
    assert_eq!(raw.packet().await, on_wire(true, 1, "two"));
    assert_eq!(raw.packet().await, on_wire(false, 2, "three"));
    raw.send(&[0x40, 2, 0, 1, 0x40, 2, 0, 2]).await;
    raw.only_pong().await;
    gone(raw).await;

    let (mut raw, present) = Raw::connected(endpoint.port, 4, "d1", true, 60).await;
    assert!(!present);
    raw.only_pong().await;
    assert_eq!(reason(&endpoint.command("d1", "four").await), "not_subscribed");
    endpoint.close().await;
    let endpoint = site.start().await;
    let (_, present) = Raw::connected(endpoint.port, 4, "d1", false, 60).await;
    assert!(!present, "a clean session ended what was kept");
    endpoint.close().await;
}

#[tokio::test]
async fn a_command_to_a_clean_session_is_delivered_when_the_device_has_it() {
    let site = Site::new();
    let mut endpoint = site.start().await;
    assert_eq!(reason(&endpoint.command("d1", "nobody").await), "not_subscribed");
    let mut raw = subscribed(endpoint.port, true).await;
    let device = async {
        assert_eq!(raw.packet().await, on_wire(false, 1, "one"));
        raw.send(&[0x40, 2, 0, 1]).await;
        assert_eq!(raw.packet().await, on_wire(false, 2, "two"));
        gone(raw).await;
    };
    let operator = async {
        assert_eq!(reason(&endpoint.command("d1", "one").await), "delivered");
        assert_eq!(reason(&endpoint.command("d1", "two").await), "not_acknowledged");
    };
    tokio::join!(device, operator);
    endpoint.close().await;
}

#[tokio::test]
async fn a_command_that_is_submitted_again_is_queued_once_and_a_full_queue_says_so() {
    let site = Site::with(serde_json::json!({ "limits": { "commands": 2 } }));
    let mut endpoint = site.start().await;
    gone(subscribed(endpoint.port, false).await).await;
    for (id, expect) in [(1, "delivered"), (1, "delivered"), (2, "delivered"), (3, "queue_full"), (2, "delivered")] {
        assert_eq!(reason(&endpoint.command_as("d1", &id.to_string(), id).await), expect, "{id}");
    }
    let (mut raw, _) = Raw::connected(endpoint.port, 4, "d1", false, 60).await;
    assert_eq!(raw.packet().await, on_wire(false, 1, "1"));
    assert_eq!(raw.packet().await, on_wire(false, 2, "2"));
    raw.only_pong().await;
    endpoint.close().await;
}

#[tokio::test]
async fn a_second_connection_takes_over_and_order_is_kept() {
    let site = Site::new();
    let endpoint = site.start().await;
    for version in [4, 5] {
        let (mut first, _) = Raw::connected(endpoint.port, version, "d1", true, 60).await;
        let before: Vec<u8> = (1..=50).flat_map(|n| publish(version, 1, n, "devices/d1/data", b"1")).collect();
        first.send(&before).await;
        let (mut second, _) = Raw::connected(endpoint.port, version, "d1", true, 60).await;
        second.send(&publish(version, 1, 1, "devices/d1/data", b"2")).await;
        assert_eq!(second.packet().await, [0x40, 2, 0, 1]);
        let rest = first.rest().await;
        assert!(version == 4 || rest.ends_with(&[0xe0, 1, 0x8e]), "{rest:?}");
        drop(second);
    }
    let records = endpoint.taken.lock().unwrap().records.clone();
    let payloads: Vec<_> = records.iter().map(|record| record.payload[0]).collect();
    let first_life = payloads.iter().position(|payload| *payload == b'2').unwrap();
    assert!(payloads[..first_life].iter().all(|payload| *payload == b'1'));
    assert!(records.is_sorted_by(|a, b| a.id < b.id), "ids rise in the order of arrival");
    endpoint.close().await;
}

/// A CONNECT with a will: `gone` on `devices/d1/hello`.
pub(super) fn with_will(version: u8, delay: u8) -> Vec<u8> {
    let (properties, will): (&[u8], Vec<u8>) = match version {
        5 => (&[5, 0x11, 0, 0, 0, 60], vec![5, 0x18, 0, 0, 0, delay]),
        _ => (&[], Vec::new()),
    };
    let head = [&[0, 4][..], b"MQTT", &[version, 0b1110, 0, 60], properties].concat();
    packet(0x10, &[&head, &field("d1"), &will, &field("devices/d1/data"), &field(r#""gone""#)])
}

async fn with_will_connected(endpoint: &Endpoint, version: u8, delay: u8) -> Raw {
    let mut raw = Raw::open(endpoint.port).await;
    raw.send(&with_will(version, delay)).await;
    assert_eq!(raw.packet().await[0], 0x20);
    raw
}

#[tokio::test]
async fn a_will_is_said_when_the_device_is_gone_without_a_farewell() {
    let site = Site::new();
    let endpoint = site.start().await;
    let mut count = 0;
    for version in [4, 5] {
        drop(with_will_connected(&endpoint, version, 0).await);
        count += 1;
        assert_eq!(endpoint.payloads(count).await[count - 1], r#""gone""#);

        let mut raw = with_will_connected(&endpoint, version, 0).await;
        raw.send(&publish(version, 2, 1, "devices/d1/data", b"1")).await;
        raw.rest().await;
        count += 1;
        endpoint.records(count).await;

        gone(with_will_connected(&endpoint, version, 0).await).await;
        let mut raw = with_will_connected(&endpoint, version, 0).await;
        raw.send(&publish(version, 1, 1, "devices/d1/data", b"1")).await;
        assert_eq!(raw.packet().await, [0x40, 2, 0, 1]);
        count += 1;
        endpoint.records(count).await;
        gone(raw).await;
    }
    // Held back, and not said where the device is back in time.
    drop(with_will_connected(&endpoint, 5, 60).await);
    gone(with_will_connected(&endpoint, 5, 0).await).await;
    drop(with_will_connected(&endpoint, 5, 1).await);
    assert_eq!(endpoint.payloads(count + 1).await[count], r#""gone""#);
    // None of the devices that are connected when Telemill stops is said to be gone.
    let _raw = with_will_connected(&endpoint, 5, 0).await;
    let taken = endpoint.taken.clone();
    endpoint.close().await;
    assert_eq!(taken.lock().unwrap().records.len(), count + 1);
}

#[tokio::test]
async fn everybody_hears_that_the_endpoint_stops() {
    let site = Site::new();
    let endpoint = site.start().await;
    let (mut v4, _) = Raw::connected(endpoint.port, 4, "d4", true, 60).await;
    let (mut v5, _) = Raw::connected(endpoint.port, 5, "d5", true, 60).await;
    let mut opening = Raw::open(endpoint.port).await;
    opening.send(&connect(4, "half", true, 60)[..5]).await;
    endpoint.close().await;
    assert_eq!((v4.rest().await, v5.rest().await), (SILENCE.to_vec(), vec![0xe0, 1, 0x8b]));
    let mut byte = [0];
    assert!(matches!(opening.0.read(&mut byte).await, Ok(0) | Err(_)));
}

#[tokio::test]
async fn a_source_that_is_built_anew_finds_its_sessions() {
    let site = Site::new();
    let local = site.connection();
    let connections = Connections::new().with("local", local.clone());
    let connected = async || {
        let port = local.endpoint().address().unwrap().port();
        Raw::connected(port, 4, "d1", false, 60).await
    };
    let mut ingress = Ingress::begin(site.build(&connections).await).await;
    let (mut raw, present) = connected().await;
    assert!(!present);
    // For whatever reason the engine lets go of something.
    soon("the end of the connections", ingress.acker.give_back(0, 1)).await.unwrap();
    assert_eq!(raw.rest().await, SILENCE);
    drop(ingress);
    let _ingress = Ingress::begin(site.build(&connections).await).await;
    assert!(connected().await.1);
}

#[tokio::test]
async fn what_is_sent_twice_is_there_twice_and_known_by_its_headers() {
    let site = Site::new();
    let endpoint = site.start().await;
    for first in [0x32, 0x3a] {
        let (mut raw, _) = Raw::connected(endpoint.port, 4, "d1", true, 60).await;
        raw.send(&packet(first, &[&field("devices/d1/data"), &[0, 9], b"{}"])).await;
        assert_eq!(raw.packet().await, [0x40, 2, 0, 9]);
    }
    let records = endpoint.records(2).await;
    let origins: Vec<_> = records.iter().map(|record| record.origin.unwrap()).collect();
    assert_eq!((origins[0].packet_id, origins[1].packet_id), (9, 9));
    assert_eq!(origins[0].payload_hash, origins[1].payload_hash);
    assert_eq!((origins[0].delivery, origins[1].delivery), (1, 2));
    assert_ne!(records[0].id, records[1].id);
    endpoint.close().await;
}
