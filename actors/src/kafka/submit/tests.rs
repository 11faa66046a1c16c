//! Failures that a real broker does not produce on demand, against librdkafka's own mock of one.

use std::ffi::CString;
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{DefaultProducerContext, Producer as _};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use telemill_engine::ack::Guards;
use telemill_engine::context::{CheckContext, Connection, Connections, Topics};
use telemill_engine::peers::Peers;
use telemill_engine::position::TopicId;
use telemill_engine::record::Record;
use telemill_engine::testing::record;

use super::*;
use crate::kafka::connection::KafkaConnection;
use crate::kafka::ledger::Offsets;
use crate::kafka::producer::Settings;
use crate::kafka::topics::EnsuredTopic;
use crate::log::form::Outgoing;

const TOPIC: &str = "t";

struct Bare;

impl Form<OwnedHeaders> for Bare {
    fn write<'a>(&'a mut self, record: &'a Record) -> Written<'a, OwnedHeaders> {
        let (key, value) = (Some(record.device.as_str().as_bytes()), &record.payload[..]);
        Written::Record(Outgoing { topic: 0, key, value, headers: OwnedHeaders::new() })
    }
}

fn cluster() -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, 1, 1).unwrap();
    cluster
}

fn submitter(cluster: &MockCluster<'static, DefaultProducerContext>) -> Submitter<Bare> {
    let brokers: Vec<_> = cluster.bootstrap_servers().split(',').map(str::to_owned).collect();
    let spec = serde_json::from_value(serde_json::json!({ "brokers": brokers })).unwrap();
    let (connections, topics, mut problems) = (Connections::new(), Topics::default(), Vec::new());
    let (connections, topics) = (&connections, &topics);
    let mut cx = CheckContext { name: "log", inputs: &[], connections, topics, problems: &mut problems };
    let connection = KafkaConnection::check(spec, &mut cx).unwrap();
    let topic =
        EnsuredTopic { name: TOPIC.into(), id: TopicId::default(), partitions: 1, max_message_bytes: 1_000_000 };
    let settings = Settings { linger: Duration::ZERO, compression: "none", buffer: 1 << 20 };
    let producer =
        Producer::connect(&connection, "test", &Peers::default(), &settings, &[topic], None, Offsets::default())
            .unwrap();
    Submitter::new(producer, Bare, Earlier::default())
}

fn batch(records: std::ops::Range<usize>) -> Arc<Batch> {
    Arc::new(Batch::new(0, records.map(|n| record("d1", n)).collect(), Guards::none()))
}

async fn answer(completion: Completion) -> Submitted {
    tokio::time::timeout(Duration::from_secs(30), completion).await.expect("the batch is answered in time")
}

async fn fatal(completion: Completion, expect: &str) {
    match answer(completion).await {
        Submitted::Fatal(why) => assert!(why.contains(expect), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_fatal_error_fails_all_that_is_in_flight_and_all_that_comes() {
    let cluster = cluster();
    let mut submitter = submitter(&cluster);
    assert!(matches!(answer(submitter.submit(batch(0..10)).await).await, Submitted::Delivered));

    cluster.broker_down(-1).unwrap();
    let first = submitter.submit(batch(10..20)).await;
    let second = submitter.submit(batch(20..30)).await;
    let why = CString::new("sequence lost").unwrap();
    let code = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    let client = submitter.view().client().unwrap();
    #[allow(unsafe_code, reason = "rdkafka does not wrap the library's own way to test this")]
    // SAFETY: the client is alive, and the reason is a NUL-terminated string that the library copies.
    unsafe {
        sys::rd_kafka_test_fatal_error(client.client().native_ptr(), code, why.as_ptr());
    }
    drop(client);
    fatal(first, "sequence lost").await;
    fatal(second, "sequence lost").await;
    fatal(submitter.submit(batch(30..40)).await, "sequence lost").await;
}

#[tokio::test]
async fn a_refusal_that_is_no_records_fault_is_fatal() {
    let cluster = cluster();
    let mut submitter = submitter(&cluster);
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::Produce, &[refused]);
    fatal(submitter.submit(batch(0..10)).await, "not at fault").await;
    fatal(submitter.submit(batch(10..20)).await, "not at fault").await;
}

#[tokio::test]
async fn a_passing_error_is_none_of_the_engines_business() {
    let cluster = cluster();
    let mut submitter = submitter(&cluster);
    let passing = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT];
    cluster.request_errors(RDKafkaApiKey::Produce, &passing);
    assert!(matches!(answer(submitter.submit(batch(0..10)).await).await, Submitted::Delivered));
}

#[tokio::test]
async fn a_failure_ends_the_wait_for_room() {
    let cluster = cluster();
    let mut submitter = submitter(&cluster);
    cluster.broker_down(-1).unwrap();
    let view = submitter.view();
    let large = || {
        let mut large = record("d1", 1);
        large.payload = vec![b'x'; 100_000].into();
        large
    };
    let batch = Arc::new(Batch::new(0, (0..50).map(|_| large()).collect(), Guards::none()));
    let waiting = async {
        let completion = submitter.submit(batch).await;
        fatal(completion, "gone for good").await;
    };
    let failing = async {
        while view.ledger().is_idle() {
            tokio::task::yield_now().await;
        }
        view.freeze("gone for good");
    };
    let both = async { tokio::join!(waiting, failing) };
    tokio::time::timeout(Duration::from_secs(30), both).await.expect("the call returns");
}

#[tokio::test]
async fn a_close_sends_what_is_queued_and_ends_the_client() {
    let cluster = cluster();
    let mut submitter = submitter(&cluster);
    let completion = submitter.submit(batch(0..1000)).await;
    let view = submitter.view();
    submitter.close().await;
    assert!(matches!(answer(completion).await, Submitted::Delivered));
    assert!(view.client().is_none(), "nothing holds the client any more");
    assert!(view.settled(Duration::from_secs(1)).await);
    fatal(submitter.submit(batch(0..1)).await, "closed").await;
}
