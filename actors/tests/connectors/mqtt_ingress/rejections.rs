//! What a broker lets through and is unfit: to the dead letters, with its bytes.

use std::collections::BTreeMap;

use telemill_engine::record::{Kind, Reason};
use telemill_services::Services;

use crate::mqtt_support::{Publisher, Site};

#[tokio::test]
async fn each_unfit_message_is_rejected_with_its_bytes_its_topic_and_the_reason() {
    let url = Services::shared().mqtt_url();
    let site = Site::new(url);
    let mut ingress = site.build_subscribed().await;
    let mut devices = Publisher::connect(url).await;

    let limit = 256 * 1024;
    let json_of = |size: usize| format!("\"{}\"", "x".repeat(size - 2)).into_bytes();
    let nested = |levels: usize| [vec![b'['; levels], vec![b']'; levels]].concat();
    let long_id = "x".repeat(10_000);
    let longest_topic = site.data(&"y".repeat(65_535 - site.data("").len()));
    assert_eq!(longest_topic.len(), 65_535);
    let unfit: Vec<(String, Vec<u8>, Reason, &str)> = vec![
        (site.data("empty"), b"".to_vec(), Reason::EMPTY, "empty"),
        (site.data("text"), b"21.5 C".to_vec(), Reason::NOT_JSON, "text"),
        (site.data("deep"), nested(65), Reason::TOO_DEEP, "deep"),
        (site.data("abyss"), nested(100_000), Reason::TOO_DEEP, "abyss"),
        (site.data("large"), json_of(limit + 1), Reason::TOO_LARGE, "large"),
        (site.data("huge"), json_of(1_000_000), Reason::TOO_LARGE, "huge"),
        (site.data("latin1"), b"\"\xe4\"".to_vec(), Reason::NOT_UTF8, "latin1"),
        (site.data("a b"), b"1".to_vec(), Reason::BAD_DEVICE_ID, "-"),
        (site.data(&long_id), b"2".to_vec(), Reason::BAD_DEVICE_ID, "-"),
        (longest_topic, json_of(limit), Reason::BAD_DEVICE_ID, "-"),
        (site.hello("ö"), b"".to_vec(), Reason::BAD_DEVICE_ID, "-"),
    ];
    for (topic, payload, ..) in &unfit {
        devices.send(topic, payload.clone()).await;
    }
    // At the limits it is fit; so is any hello.
    let fit: Vec<(String, Vec<u8>, Vec<u8>)> = vec![
        (site.data("limit"), json_of(limit), json_of(limit)),
        (site.data("levels"), nested(64), nested(64)),
        (site.data(&"d".repeat(128)), b"1".to_vec(), b"1".to_vec()),
        (site.hello("h1"), b"{}".to_vec(), b"{}".to_vec()),
        (site.hello("h2"), b"".to_vec(), b"".to_vec()),
        (site.hello("h3"), b"\xff".to_vec(), b"".to_vec()),
        (site.hello("h4"), json_of(limit + 1), b"".to_vec()),
        (site.hello("h5"), nested(65), b"".to_vec()),
    ];
    for (topic, payload, _) in &fit {
        devices.send(topic, payload.clone()).await;
    }
    devices.settled().await;

    let (mut records, mut rejected, mut last) = (Vec::new(), Vec::new(), 0);
    while records.len() + rejected.len() < fit.len() + unfit.len() {
        let batch = ingress.batch(7).await;
        assert!(batch.records.len() + batch.rejected.len() <= 7);
        records.extend(batch.records.into_iter().filter(|record| record.kind != Kind::Mark));
        rejected.extend(batch.rejected);
        last = batch.tag;
    }
    assert_eq!(rejected.len(), unfit.len());
    for (rejected, (topic, payload, reason, device)) in rejected.iter().zip(&unfit) {
        assert_eq!(rejected.why.reason, *reason, "{}: {}", rejected.record.device, rejected.why.detail);
        assert!(rejected.record.payload == *payload && rejected.why.source == topic.as_bytes(), "{reason}");
        assert_eq!((rejected.record.device.as_str(), rejected.why.attempts), (*device, 1));
        assert_eq!(&*rejected.why.stage, "ingress");
    }
    assert_eq!(records.len(), fit.len());
    for (record, (topic, _, payload)) in records.iter().zip(&fit) {
        assert!(record.payload == *payload, "{topic}: {} bytes", record.payload.len());
    }
    // All of them are productions of the session, told apart by their number.
    let origins = records.iter().chain(rejected.iter().map(|r| &r.record)).map(|record| record.origin.unwrap());
    let by_delivery: BTreeMap<u64, u16> = origins.map(|origin| (origin.delivery, origin.packet_id)).collect();
    assert!(by_delivery.keys().copied().eq(1..=(fit.len() + unfit.len()) as u64));

    // They are acknowledged like any other, and do not come again.
    ingress.acknowledge(last).await;
    ingress.close().await;
    devices.send(&site.data("d1"), "\"last\"").await;
    site.build().await.expect_next("\"last\"").await;
}
