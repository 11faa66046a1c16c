//! What stands in a real log becomes a record again, whoever wrote it.

use std::ffi::c_char;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::json;
use telemill_actors::kafka::topics::{EnsuredTopic, ensure};
use telemill_actors::kafka::wire::record_from_message;
use telemill_actors::kafka_router::KafkaRouter;
use telemill_actors::log::message::Taken;
use telemill_engine::clock::Timestamp;
use telemill_engine::record::{Kind, Reason};
use telemill_engine::sink::Sink;
use telemill_engine::stage::Component;
use telemill_services::unique_name;
use ulid::Ulid;

use crate::kafka_support::{SOON, Site, batch, delivered, produced};

async fn topic(site: &mut Site, prefix: &str) -> EnsuredTopic {
    let name = site.topic(prefix, 1);
    ensure(&site.connection(), &[site.topics.get(&name)]).await.unwrap().remove(0)
}

/// The first messages of a topic, taken apart.
fn take(site: &Site, topic: &EnsuredTopic, count: usize) -> Vec<Taken> {
    let mut config = site.connection().client_config();
    config.set("group.id", unique_name("take")).set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut wanted = TopicPartitionList::new();
    wanted.add_partition_offset(&topic.name, 0, Offset::Beginning).unwrap();
    consumer.assign(&wanted).unwrap();
    let (stage, since): (Arc<str>, _) = ("events".into(), Instant::now());
    let mut taken = Vec::new();
    while taken.len() < count {
        assert!(since.elapsed() < SOON, "{count} messages come in time");
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            let message = message.unwrap();
            assert_eq!(message.topic(), topic.name);
            taken.push(record_from_message(&message, topic.id, &stage));
        }
    }
    taken
}

#[tokio::test]
async fn a_routed_record_comes_back_as_it_was() {
    let mut site = Site::shared();
    let topic = topic(&mut site, "there-and-back").await;
    let checked = site.check::<KafkaRouter>(json!({ "connection": "log", "topic": topic.name }));
    let mut router = KafkaRouter::build(&checked, &site.cx()).await.unwrap();
    let mut sent = produced("d1", Ulid::from_parts(1, 2), 7);
    sent.traceparent = Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into());
    delivered(router.submit(batch(vec![sent.clone()])).await).await;

    let taken = take(&site, &topic, 1).remove(0);
    let record = taken.record.unwrap();
    assert_eq!(taken.time, sent.received_at);
    assert_eq!((record.id, &record.device, &record.kind), (sent.id, &sent.device, &sent.kind));
    assert_eq!((record.payload, record.received_at), (sent.payload, sent.received_at));
    assert_eq!((record.origin, record.traceparent), (sent.origin, sent.traceparent));
    let position = record.position.unwrap();
    assert_eq!((position.topic, position.partition, position.offset, position.output), (topic.id, 0, 0, 0));
}

#[tokio::test]
async fn foreign_records_are_taken_or_refused_never_a_crash() {
    let mut site = Site::shared();
    let topic = topic(&mut site, "foreign").await;
    let producer: BaseProducer = site.connection().client_config().create().unwrap();
    let odd = OwnedHeaders::new().insert(Header { key: "kind", value: Some("status") });
    add_raw(&odd, b"\xff\xfe", b"\x00\x01");
    let send = |key: &str, value: Option<&str>, headers: OwnedHeaders| {
        let record = BaseRecord::to(&topic.name).key(key).timestamp(1_700_000_000_000).headers(headers);
        let record = BaseRecord { payload: value, ..record };
        producer.send(record).map_err(|(error, _)| error).unwrap();
    };
    send("d1", Some(r#"{"payload":{"t":1}}"#), odd);
    send("d1", Some("nonsense"), OwnedHeaders::new());
    send("a b", Some(r#"{"payload":1}"#), OwnedHeaders::new());
    send("d1", None, OwnedHeaders::new());
    producer.flush(SOON).unwrap();

    let taken = take(&site, &topic, 4);
    let record = taken[0].record.as_ref().unwrap();
    assert_eq!(record.kind, Kind::from("status"));
    assert_eq!((record.device.as_str(), record.received_at), ("d1", Timestamp(1_700_000_000_000)));
    assert_eq!(record.id, take(&site, &topic, 1)[0].record.as_ref().unwrap().id, "the same on every replay");
    let reasons = taken[1..].iter().map(|taken| {
        let rejected = taken.record.as_ref().unwrap_err();
        (rejected.why.reason, String::from_utf8(rejected.why.source.to_vec()).unwrap())
    });
    let place = |offset| format!("{}/0/{offset}", topic.name);
    let expect =
        [(Reason::BAD_ENVELOPE, place(1)), (Reason::BAD_DEVICE_ID, place(2)), (Reason::BAD_ENVELOPE, place(3))];
    assert_eq!(reasons.collect::<Vec<_>>(), expect);
}

/// A header whose name is no text, as a client in another language may write it.
#[allow(unsafe_code, reason = "rdkafka takes header names as `str` only")]
fn add_raw(headers: &OwnedHeaders, name: &[u8], value: &[u8]) {
    let list = std::ptr::from_ref(headers.as_borrowed()).cast_mut().cast::<sys::rd_kafka_headers_t>();
    // SAFETY: rdkafka's borrowed headers are the library's list seen through a pointer; it is alive and owned here, and
    // the library copies name and value.
    let added = unsafe {
        let (name_len, value_len) = (name.len() as isize, value.len() as isize);
        sys::rd_kafka_header_add(list, name.as_ptr().cast::<c_char>(), name_len, value.as_ptr().cast(), value_len)
    };
    assert_eq!(added, sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR);
}
