//! What is unfit is rejected with its bytes, and nothing else is.

use telemill_engine::record::{Kind, Reason};

use super::device::Version;
use super::{Harness, connected, nothing_comes_again, serving};

/// The default `max_payload`.
const MAX_PAYLOAD: usize = 256 << 10;
/// The default `max_depth`.
const MAX_DEPTH: usize = 64;

/// JSON of so many bytes.
fn json_of(bytes: usize) -> Vec<u8> {
    format!("\"{}\"", "x".repeat(bytes - 2)).into_bytes()
}

/// Arrays in arrays.
fn nested(levels: usize) -> Vec<u8> {
    [vec![b'['; levels], vec![b']'; levels]].concat()
}

/// The dead letters get it whole, with its topic and a reason; it is acknowledged like any other, and does not come again.
pub(crate) async fn each_unfit_message_is_rejected_with_its_bytes_its_topic_and_the_reason<H: Harness>() {
    let (harness, mut ingress) = serving::<H>().await;
    let mut device = connected(&harness, "d1", Version::V4).await;
    let data = |device: &str| harness.topic(device, "data");
    let longest_id = "y".repeat(H::LONGEST_TOPIC - data("").len());
    let unfit: Vec<(String, Vec<u8>, Reason, &str)> = vec![
        (data("empty"), b"".to_vec(), Reason::EMPTY, "empty"),
        (data("text"), b"21.5 C".to_vec(), Reason::NOT_JSON, "text"),
        (data("cut"), b"{".to_vec(), Reason::NOT_JSON, "cut"),
        (data("deep"), nested(MAX_DEPTH + 1), Reason::TOO_DEEP, "deep"),
        (data("abyss"), nested(100_000), Reason::TOO_DEEP, "abyss"),
        (data("large"), json_of(MAX_PAYLOAD + 1), Reason::TOO_LARGE, "large"),
        (data("huge"), json_of(1_000_000), Reason::TOO_LARGE, "huge"),
        (data("latin1"), b"\"\xe4\"".to_vec(), Reason::NOT_UTF8, "latin1"),
        (data("a b"), b"1".to_vec(), Reason::BAD_DEVICE_ID, "-"),
        (data(""), b"2".to_vec(), Reason::BAD_DEVICE_ID, "-"),
        (data(&"x".repeat(129)), b"3".to_vec(), Reason::BAD_DEVICE_ID, "-"),
        (data(&longest_id), json_of(MAX_PAYLOAD), Reason::BAD_DEVICE_ID, "-"),
        (harness.topic("ö", "hello"), b"".to_vec(), Reason::BAD_DEVICE_ID, "-"),
    ];
    for (topic, payload, ..) in &unfit {
        device.publish(topic, payload).await;
    }
    let (mut rejected, mut last) = (Vec::new(), 0);
    while rejected.len() < unfit.len() {
        let batch = ingress.batch(7).await;
        assert!(batch.records.len() + batch.rejected.len() <= 7);
        assert!(batch.records.iter().all(|record| record.kind == Kind::Mark), "{:?}", batch.records);
        rejected.extend(batch.rejected);
        last = batch.tag;
    }
    assert_eq!(rejected.len(), unfit.len());
    for ((rejected, delivery), (topic, payload, reason, device)) in rejected.iter().zip(1..).zip(&unfit) {
        let (record, why) = (&rejected.record, &rejected.why);
        assert_eq!(why.reason, *reason, "{}: {}", record.device, why.detail);
        assert!(record.payload == *payload && why.source == topic.as_bytes(), "{reason}");
        assert_eq!((record.device.as_str(), &*why.stage, why.attempts), (*device, "ingress", 1));
        assert_eq!(record.kind.as_str(), topic.rsplit('/').next().unwrap());
        // It is a production like any other.
        assert_eq!(record.origin.unwrap().delivery, delivery);
    }
    ingress.acknowledge(last).await;
    nothing_comes_again(&harness, ingress, &mut device).await;
}

/// What is just within the limits is delivered whole. A hello may be anything: its body is left out where it is not JSON
/// within the limits.
pub(crate) async fn at_the_limits_a_message_is_fit<H: Harness>() {
    let (harness, mut ingress) = serving::<H>().await;
    let mut device = connected(&harness, "d1", Version::V5).await;
    let [data, hello] = ["data", "hello"].map(|word| {
        let harness = &harness;
        move |device: &str| harness.topic(device, word)
    });
    let longest_id = "d".repeat(128);
    let fit: Vec<(String, Vec<u8>, Vec<u8>)> = vec![
        (data("limit"), json_of(MAX_PAYLOAD), json_of(MAX_PAYLOAD)),
        (data("levels"), nested(MAX_DEPTH), nested(MAX_DEPTH)),
        (data(&longest_id), b" 1\n".to_vec(), b" 1\n".to_vec()),
        (data("A-z._:9"), b"null".to_vec(), b"null".to_vec()),
        (hello("h"), b"{}".to_vec(), b"{}".to_vec()),
        (hello("h"), b"".to_vec(), b"".to_vec()),
        (hello("h"), b"still here".to_vec(), b"".to_vec()),
        (hello("h"), b"\xff".to_vec(), b"".to_vec()),
        (hello("h"), json_of(MAX_PAYLOAD + 1), b"".to_vec()),
        (hello("h"), nested(MAX_DEPTH + 1), b"".to_vec()),
    ];
    for (topic, payload, _) in &fit {
        device.publish(topic, payload).await;
    }
    let (records, tag) = ingress.take(fit.len()).await;
    for (record, (topic, _, payload)) in records.iter().zip(&fit) {
        assert_eq!(harness.topic(record.device.as_str(), record.kind.as_str()), *topic);
        assert!(record.payload == *payload, "{topic}: {} bytes", record.payload.len());
    }
    ingress.acknowledge(tag).await;
    nothing_comes_again(&harness, ingress, &mut device).await;
}
