//! Dead letters against a real Kafka: the raw bytes, and why.

use std::sync::Arc;

use bytes::Bytes;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use serde_json::json;
use telemill_actors::kafka_dead_letters::KafkaDeadLetters;
use telemill_actors::log::message::no_device;
use telemill_engine::clock::{Clock, TimeSource, Timestamp};
use telemill_engine::ports::Taken;
use telemill_engine::record::{DeadReason, Reason, Record};
use telemill_engine::sink::{Sink, Submitted};
use telemill_engine::stage::{BuildError, Component};
use telemill_engine::testing::record;
use telemill_services::eventually;
use ulid::Ulid;

use crate::kafka_support::{SOON, Site, batch, delivered, produced};

#[derive(Debug)]
struct At(u64);

impl TimeSource for At {
    fn now(&self) -> Timestamp {
        Timestamp(self.0)
    }
}

fn dead(mut record: Record, reason: Reason, source: &'static str) -> Record {
    let detail = "expected value at line 1 column 1".into();
    let source = Bytes::from_static(source.as_bytes());
    record.dead = Some(Arc::new(DeadReason { reason, detail, stage: "ingress".into(), attempts: 2, source }));
    record
}

async fn letters(site: &mut Site) -> (KafkaDeadLetters, String) {
    let topic = site.topic("dlq", 1);
    let checked = site.check::<KafkaDeadLetters>(json!({ "connection": "log", "topic": topic }));
    (KafkaDeadLetters::build(&checked, &site.cx()).await.unwrap(), topic)
}

#[tokio::test]
async fn a_letter_holds_the_raw_bytes_and_says_why() {
    let mut site = Site::shared();
    site.clock = Clock::new(At(1_700_000_009_999));
    let (mut sink, topic) = letters(&mut site).await;
    let mut raw = produced("d1", Ulid::from_parts(1, 2), 7);
    raw.payload = Bytes::from_static(b"\xff\x00not json");
    let mut logged = record("d2", 8);
    logged.message = Some(Bytes::from_static(br#"{"device_id":"d2","payload":1}"#));
    let mut unfit = record("d3", 9);
    unfit.device = no_device();
    let records = vec![
        dead(raw, Reason::NOT_UTF8, "devices/d1/data"),
        dead(logged, Reason::WRONG_TYPE, "iot-data/3/41"),
        dead(unfit, Reason::BAD_DEVICE_ID, "devices/a b/data"),
    ];
    delivered(sink.submit(batch(records)).await).await;

    let written = site.read(&topic);
    assert_eq!(written.iter().map(|m| m.key.as_deref()).collect::<Vec<_>>(), [Some("d1"), Some("d2"), None]);
    assert_eq!(written[0].value, Bytes::from_static(b"\xff\x00not json"));
    let headers: Vec<_> = written[0].headers.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(
        headers,
        [
            ("event-id", "01HF7YAT070000000000000007"),
            ("received-at-ms", "1700000000007"),
            ("kind", "data"),
            ("slot", "0"),
            ("slot-session", "00000000010000000000000002"),
            ("delivery", "7"),
            ("packet-id", "8"),
            ("payload-hash", "0000000000000007"),
            ("dead-reason", "not_utf8"),
            ("dead-detail", "expected value at line 1 column 1"),
            ("dead-topology", "test"),
            ("dead-stage", "ingress"),
            ("dead-attempts", "2"),
            ("dead-source", "devices/d1/data"),
            ("dead-at-ms", "1700000009999"),
        ]
    );
    assert_eq!(written[1].text(), r#"{"device_id":"d2","payload":1}"#, "the whole message of what came out of a log");
    assert_eq!(written[2].header("dead-source"), Some("devices/a b/data"));
}

#[tokio::test]
async fn the_largest_packet_fits() {
    let mut site = Site::shared();
    let (mut sink, topic) = letters(&mut site).await;
    let mut large = record("d1", 1);
    large.payload = Bytes::from(vec![b'x'; 2_000_000]);
    delivered(sink.submit(batch(vec![dead(large, Reason::TOO_LARGE, "devices/d1/data")])).await).await;
    assert_eq!(site.read(&topic)[0].value.len(), 2_000_000);
}

#[tokio::test]
async fn a_topic_that_could_not_hold_it_is_refused_at_start() {
    let mut site = Site::shared();
    let topic = site.declare("small-dlq", |topic| topic.max_message_bytes = Some(100_000));
    telemill_actors::kafka::topics::ensure(&site.connection(), &[site.topics.get(&topic)]).await.unwrap();
    site.topics.declared.get_mut(&topic).unwrap().max_message_bytes = None;
    let checked = site.check::<KafkaDeadLetters>(json!({ "connection": "log", "topic": topic }));
    match KafkaDeadLetters::build(&checked, &site.cx()).await {
        Err(BuildError::Impossible(why)) => assert!(why.contains("max.message.bytes=100000"), "{why}"),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("built on a topic that is too small"),
    }
}

#[tokio::test]
async fn letters_are_recalled_like_any_production() {
    let mut site = Site::shared();
    let (mut sink, _) = letters(&mut site).await;
    let session = Ulid::from_parts(1, 3);
    let records = (1..=3).map(|n| dead(produced("d1", session, n), Reason::NOT_JSON, "devices/d1/data")).collect();
    delivered(sink.submit(batch(records)).await).await;
    let recall = site.ports.recall("stage").expect("dead letters offer it");
    let mut recalled = recall.recall(0, session, 10).await.unwrap();
    recalled.sort_unstable_by_key(|taken| taken.origin.delivery);
    let of = |delivery| Taken {
        origin: produced("d1", session, delivery).origin.unwrap(),
        given_up_by: Some("ingress".into()),
    };
    assert_eq!(recalled, [1, 2, 3].map(of));
}

/// Nothing is taken for delivered that is not there: the sink fails, and is built again with its topic.
#[tokio::test]
async fn a_topic_that_is_deleted_is_made_again_and_no_letter_is_lost() {
    let mut site = Site::shared();
    let (mut sink, topic) = letters(&mut site).await;
    let letter = |n| batch(vec![dead(record("d1", n), Reason::NOT_JSON, "devices/d1/data")]);
    delivered(sink.submit(letter(1)).await).await;
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &site.brokers).create().unwrap();
    for deleted in admin.delete_topics(&[topic.as_str()], &AdminOptions::new()).await.unwrap() {
        deleted.unwrap();
    }
    // Until the broker itself has heard of it, it takes what is written there.
    eventually(SOON, "the broker to know that the topic is gone", async || {
        let metadata = admin.inner().fetch_metadata(Some(&topic), SOON).unwrap();
        metadata.topics()[0].error().map(drop)
    })
    .await;
    let answer = sink.submit(letter(2)).await;
    let answer = tokio::time::timeout(SOON * 2, answer).await.expect("the client does not wait for ever");
    assert!(matches!(answer, Submitted::Fatal(_)), "{answer:?}");
    drop(sink);
    let checked = site.check::<KafkaDeadLetters>(json!({ "connection": "log", "topic": topic }));
    let mut sink = eventually(SOON, "the topic to be made again", async || {
        KafkaDeadLetters::build(&checked, &site.cx()).await.ok()
    })
    .await;
    delivered(sink.submit(letter(2)).await).await;
    let written: Vec<_> = site.read(&topic).iter().map(|m| m.json()["n"].as_u64().unwrap()).collect();
    assert_eq!(written, [2]);
}
