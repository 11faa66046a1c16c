//! Whatever a client sends, it harms itself alone, and has the answer of the standard.

use tokio::io::AsyncWriteExt;

use super::fixture::Site;
use crate::mqtt_support::raw::{PING, PONG, Raw, SILENCE, connect, field, packet, publish, subscribe};

/// What a connection gets for its bytes, until the endpoint closes it.
async fn answer(port: u16, bytes: &[u8]) -> Vec<u8> {
    let mut raw = Raw::open(port).await;
    raw.send(bytes).await;
    raw.rest().await
}

/// What a client that is in gets for its bytes, until the endpoint closes it.
async fn farewell(port: u16, version: u8, bytes: &[u8]) -> Vec<u8> {
    let (mut raw, _) = Raw::connected(port, version, "d1", true, 60).await;
    raw.send(bytes).await;
    raw.rest().await
}

#[tokio::test]
async fn strangers_get_the_answer_of_the_standard() {
    let site = Site::new();
    let endpoint = site.start().await;
    let port = endpoint.port;
    for version in [3, 6, 255] {
        assert_eq!(answer(port, &connect(version, "d1", true, 60)).await, [0x20, 2, 0, 1], "version {version}");
    }
    assert_eq!(answer(port, b"GET / HTTP/1.1\r\n\r\n").await, SILENCE);
    assert_eq!(answer(port, &publish(4, 1, 1, "devices/d1/data", b"1")).await, SILENCE);
    assert_eq!(answer(port, &[0x10, 0xff, 0xff, 0xff, 0xff]).await, SILENCE);
    assert_eq!(answer(port, &connect(4, "", false, 60)).await, [0x20, 2, 0, 2]);
    assert_eq!(answer(port, &connect(4, b"d\xff", true, 60)).await, [0x20, 2, 0, 2]);
    assert_eq!(answer(port, &connect(5, b"d\xff", true, 60)).await, [0x20, 3, 0, 0x85, 0]);
    assert_eq!(answer(port, &connect(4, "d\0", true, 60)).await, SILENCE);
    assert_eq!(answer(port, &connect(5, "d\0", true, 60)).await, [0x20, 3, 0, 0x81, 0]);
    assert_eq!(answer(port, &connect(4, "x".repeat(65_535), true, 60)).await, [0x20, 2, 0, 2]);
    assert_eq!(answer(port, &connect(5, "x".repeat(65_535), true, 60)).await, [0x20, 3, 0, 0x85, 0]);
    // Odd, and allowed.
    for client_id in ["+", "#", "d\r\n1", "$SYS", "ü"] {
        let (mut raw, _) = Raw::connected(port, 4, client_id, true, 60).await;
        raw.only_pong().await;
    }
    endpoint.close().await;
}

#[tokio::test]
async fn hostile_topics_harm_nobody() {
    let site = Site::new();
    let endpoint = site.start().await;
    let port = endpoint.port;
    for (topic, code) in [("devices/+/data", 0x90), ("#", 0x90), ("devices/d\0/data", 0x81), ("", 0x82)] {
        assert_eq!(farewell(port, 4, &publish(4, 1, 1, topic, b"1")).await, SILENCE, "{topic:?}");
        assert_eq!(farewell(port, 5, &publish(5, 1, 1, topic, b"1")).await, [0xe0, 1, code], "{topic:?}");
    }
    assert_eq!(farewell(port, 5, &publish(5, 1, 1, b"devices/\xff/data", b"1")).await, [0xe0, 1, 0x81]);
    let long = format!("devices/{}/data", "x".repeat(65_000));
    assert_eq!(farewell(port, 4, &publish(4, 1, 1, &long, b"1")).await, SILENCE);

    // In version 5 the device hears of it, and goes on.
    let (mut raw, _) = Raw::connected(port, 5, "d1", true, 60).await;
    raw.send(&publish(5, 1, 1, &long, b"1")).await;
    assert_eq!(raw.packet().await, [0x40, 3, 0, 1, 0x90]);
    // Allowed by MQTT, and no device ids of ours: dead letters, acknowledged once there.
    for (number, topic) in ["devices/\r\n/data", "devices//data", "devices/a b/data", "other/d1"].iter().enumerate() {
        raw.send(&publish(5, 1, 2 + number as u16, topic, b"1")).await;
        assert_eq!(raw.packet().await, [0x40, 2, 0, 2 + number as u8]);
    }
    assert_eq!(endpoint.dead(4).await, ["bad_device_id", "bad_device_id", "bad_device_id", "unmatched_topic"]);
    {
        let taken = endpoint.taken.lock().unwrap();
        assert_eq!(&taken.rejected[0].why.source[..], b"devices/\r\n/data");
        assert_eq!(taken.records.len(), 0);
    }
    endpoint.close().await;
}

#[tokio::test]
async fn who_breaks_the_protocol_is_sent_away() {
    let site = Site::new();
    let endpoint = site.start().await;
    let port = endpoint.port;
    let qos2 = |version| publish(version, 2, 1, "devices/d1/data", b"1");
    assert_eq!(farewell(port, 4, &qos2(4)).await, SILENCE);
    assert_eq!(farewell(port, 5, &qos2(5)).await, [0xe0, 1, 0x9b]);
    assert_eq!(farewell(port, 5, &connect(5, "d1", true, 60)).await, [0xe0, 1, 0x82]);
    assert_eq!(farewell(port, 4, &connect(4, "d1", true, 60)).await, SILENCE);
    let too_large = [0x32, 0xff, 0xff, 0x7f];
    assert_eq!(farewell(port, 4, &too_large).await, SILENCE);
    assert_eq!(farewell(port, 5, &too_large).await, [0xe0, 1, 0x95]);
    let shared = packet(0x82, &[&[0, 1, 0], &field("$share/g/devices/d1/commands"), &[1]]);
    assert_eq!(farewell(port, 5, &shared).await, [0xe0, 1, 0x9e]);

    let flood: Vec<u8> = (1..=300).flat_map(|id| publish(5, 1, id, "devices/d1/data", b"1")).collect();
    endpoint.hold();
    let farewell = farewell(port, 5, &flood).await;
    assert_eq!(farewell, [0xe0, 1, 0x93], "it was told 256");
    endpoint.close().await;
}

#[tokio::test]
async fn only_the_commands_of_one_device_can_be_subscribed_to() {
    let site = Site::new();
    let endpoint = site.start().await;
    for (version, refused, no_filter) in [(4, 0x80, 0x80), (5, 0x87, 0x8f)] {
        let (mut raw, _) = Raw::connected(endpoint.port, version, "d1", true, 60).await;
        for (filter, code) in [
            ("devices/d1/commands", 1),
            ("devices/d2/commands", 1),
            ("devices/+/commands", refused),
            ("devices/d1/data", refused),
            ("#", refused),
            ("devices/d+/commands", no_filter),
        ] {
            raw.send(&subscribe(version, 7, filter, 2)).await;
            let answer = raw.packet().await;
            assert_eq!((answer[0], *answer.last().unwrap()), (0x90, code), "{filter}");
        }
        raw.only_pong().await;
    }
    endpoint.close().await;
}

#[tokio::test]
async fn half_packets_and_slow_strangers_are_cut_and_others_served() {
    let site = Site::with(serde_json::json!({ "limits": { "connect_within": "1s" } }));
    let endpoint = site.start().await;
    let bytes = connect(4, "d1", true, 60);
    let mut half = Raw::open(endpoint.port).await;
    half.send(&bytes[..bytes.len() - 1]).await;
    let mut silent = Raw::open(endpoint.port).await;
    let mut dripping = Raw::open(endpoint.port).await;
    let drip = async {
        for byte in std::iter::repeat(&0x10u8) {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            if dripping.0.write_all(std::slice::from_ref(byte)).await.is_err() {
                break;
            }
        }
    };
    let (mut good, _) = Raw::connected(endpoint.port, 4, "good", true, 60).await;
    good.only_pong().await;
    let (a, b, ()) =
        tokio::join!(half.rest(), silent.rest(), crate::mqtt_support::soon("the dripping one's end", drip));
    assert_eq!((a, b), (Vec::new(), Vec::new()));

    // Behind its CONNECT a client may take its time over a packet.
    let mut pieces = Raw::open(endpoint.port).await;
    for byte in bytes.iter().chain(&publish(4, 1, 9, "devices/d1/data", b"{}")).chain(&PING) {
        pieces.send(std::slice::from_ref(byte)).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(pieces.packet().await, [0x20, 2, 0, 0]);
    let mut answers = [pieces.packet().await, pieces.packet().await];
    answers.sort();
    assert_eq!(answers, [vec![0x40, 2, 0, 9], PONG.to_vec()]);
    endpoint.close().await;
}

#[tokio::test]
async fn a_silent_client_is_sent_away_after_one_and_a_half_keep_alives() {
    let site = Site::new();
    let endpoint = site.start().await;
    let (mut v4, _) = Raw::connected(endpoint.port, 4, "d1", true, 1).await;
    let (mut v5, _) = Raw::connected(endpoint.port, 5, "d2", true, 1).await;
    assert_eq!((v4.rest().await, v5.rest().await), (Vec::new(), vec![0xe0, 1, 0x8d]));
    endpoint.close().await;
}
