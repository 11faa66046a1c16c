//! Topics of the test's own, records in them, and what others see of the group.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use telemill_actors::kafka::connection::KafkaConnection;
use telemill_actors::kafka::topics;
use telemill_actors::kafka_source::KafkaSource;
use telemill_engine::checkpoint::{
    CheckpointDelta, CheckpointMeta, Claim, Owner, Scope, SessionPage, SlotRecord, StateStore, StoreError,
};
use telemill_engine::clock::Clock;
use telemill_engine::context::{BuildContext, CheckContext, Connection, Connections, Topics};
use telemill_engine::device_id::DeviceId;
use telemill_engine::ports::Ports;
use telemill_engine::position::{Epoch, Partition, TopicId};
use telemill_engine::source::Source;
use telemill_engine::stage::{BuildError, Component};
use telemill_services::{Services, eventually, unique_name};

use super::driven::Driven;
use crate::kafka_support::partition_of;

pub(super) const DEADLINE: Duration = Duration::from_secs(60);

/// A cluster with topics, a group and a stage that no other test uses.
pub(super) struct Fixture {
    pub(super) brokers: String,
    pub(super) topics: Vec<String>,
    pub(super) marks: Option<String>,
    pub(super) partitions: i32,
    pub(super) group: String,
    pub(super) stage: String,
    producer: FutureProducer,
}

/// What of a source's spec a test changes.
#[derive(Clone, Copy, Default)]
pub(super) struct Options {
    pub(super) resume: Option<&'static str>,
    pub(super) session_timeout: Option<&'static str>,
    pub(super) fetch_max: Option<&'static str>,
}

impl Fixture {
    /// Topics `a`, `b`, … of the shared cluster.
    pub(super) fn new(topics: usize, partitions: i32) -> Self {
        Fixture::on(Services::shared().kafka_brokers(), topics, partitions)
    }

    /// The same, of another cluster.
    pub(super) fn on(brokers: &str, topics: usize, partitions: i32) -> Self {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("enable.idempotence", "true")
            .set("linger.ms", "0")
            .create();
        Fixture {
            brokers: brokers.to_owned(),
            topics: ('a'..).take(topics).map(|name| unique_name(&name.to_string())).collect(),
            marks: None,
            partitions,
            group: unique_name("group"),
            stage: unique_name("events"),
            producer: producer.unwrap(),
        }
    }

    /// With a topic of marks.
    pub(super) fn with_marks(self) -> Self {
        Fixture { marks: Some(unique_name("marks")), ..self }
    }

    /// All topics, the marks' last.
    pub(super) fn all_topics(&self) -> Vec<&str> {
        self.topics.iter().chain(&self.marks).map(String::as_str).collect()
    }

    fn declared(&self) -> Topics {
        let mut topics = Topics::default();
        topics.defaults.partitions = self.partitions;
        topics
    }

    fn connection(&self) -> Arc<KafkaConnection> {
        let spec =
            serde_json::from_value(serde_json::json!({ "brokers": self.brokers.split(',').collect::<Vec<_>>() }));
        let mut problems = Vec::new();
        let mut cx = CheckContext {
            name: "log",
            inputs: &[],
            connections: &Connections::new(),
            topics: &self.declared(),
            problems: &mut problems,
        };
        Arc::new(KafkaConnection::check(spec.unwrap(), &mut cx).unwrap())
    }

    /// Creates the topics, for records to be there before the source is.
    pub(super) async fn create_topics(&self) -> BTreeMap<String, TopicId> {
        self.try_create_topics().await.unwrap()
    }

    /// The same, where the cluster may not be able to now.
    pub(super) async fn try_create_topics(&self) -> Result<BTreeMap<String, TopicId>, BuildError> {
        let declared: Vec<_> = self.all_topics().into_iter().map(|name| self.declared().get(name)).collect();
        let ensured = topics::ensure(&self.connection(), &declared).await?;
        Ok(ensured.into_iter().map(|topic| (topic.name, topic.id)).collect())
    }

    pub(super) fn admin(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new().set("bootstrap.servers", &self.brokers).create().unwrap()
    }

    /// A device that belongs to a partition; `d1` where there is only one.
    pub(super) fn device_of(&self, partition: Partition) -> String {
        let mut devices = (1..).map(|n| format!("d{n}"));
        devices.find(|device| partition_of(device, self.partitions) == partition).unwrap()
    }

    /// Writes a record of the partition's device as the router would, and waits until it is durable; its offset.
    pub(super) async fn produce(&self, topic: &str, partition: Partition, number: u64, received_at: u64) -> i64 {
        let (device, seconds) = (self.device_of(partition), received_at / 1000);
        let value = format!(r#"{{"device_id":"{device}","payload":{{"n":{number}}},"timestamp":{seconds}}}"#);
        self.produce_raw(topic, partition, value.as_bytes(), "data", received_at).await
    }

    /// Writes any bytes as a record of the partition's device.
    pub(super) async fn produce_raw(
        &self,
        topic: &str,
        partition: Partition,
        value: &[u8],
        kind: &str,
        received_at: u64,
    ) -> i64 {
        let received_at = received_at.to_string();
        let header = |headers: OwnedHeaders, key: &str, value: &str| headers.insert(Header { key, value: Some(value) });
        let headers = header(header(OwnedHeaders::new(), "kind", kind), "received-at-ms", &received_at);
        let headers = header(headers, "event-id", &ulid::Ulid::generate().to_string());
        let record = FutureRecord::to(topic).partition(partition).payload(value).headers(headers);
        let device = self.device_of(partition);
        let record = if kind == "mark" { record } else { record.key(&device) };
        self.producer.send(record, DEADLINE).await.unwrap().offset
    }

    /// Writes a record without a key, as a foreign producer may, of a device that only its value names; its offset.
    pub(super) async fn produce_keyless(&self, topic: &str, partition: Partition, device: &str) -> i64 {
        let value = format!(r#"{{"device_id":"{device}","payload":{{"n":0}}}}"#);
        let record: FutureRecord<'_, (), _> = FutureRecord::to(topic).partition(partition).payload(&value);
        self.producer.send(record, DEADLINE).await.unwrap().offset
    }

    /// Writes a record whose key another partitioner put there; its offset.
    pub(super) async fn produce_keyed(&self, topic: &str, partition: Partition, key: &str, value: &str) -> i64 {
        let record = FutureRecord::to(topic).partition(partition).key(key).payload(value);
        self.producer.send(record, DEADLINE).await.unwrap().offset
    }

    /// Writes the records `numbers` into the first partition of the first topic, at once, each of about `size` bytes.
    pub(super) async fn fill(&self, numbers: std::ops::Range<u64>, size: usize) {
        let filler = "x".repeat(size);
        let device = self.device_of(0);
        let value = |n: u64| format!(r#"{{"device_id":"{device}","payload":{{"n":{n},"x":"{filler}"}}}}"#);
        let values: Vec<_> = numbers.clone().map(value).collect();
        let sent =
            numbers.zip(&values).map(|(n, value)| self.produce_raw(&self.topics[0], 0, value.as_bytes(), "data", n));
        futures_util::future::join_all(sent).await;
    }

    /// Writes a mark that waits for these offsets.
    pub(super) async fn produce_mark(&self, partition: Partition, time: u64, delivered: &[(&str, i64)]) -> i64 {
        let delivered: BTreeMap<_, _> = delivered.iter().copied().collect();
        let mark = serde_json::json!({
            "v": 1, "slot": 0, "slot_session": ulid::Ulid::nil(), "since": time - 1000, "time": time, "delivered": delivered,
        });
        let marks = self.marks.as_deref().unwrap();
        self.produce_raw(marks, partition, mark.to_string().as_bytes(), "mark", time).await
    }

    /// What another client sees committed by the group: the next offset to read, topic by topic.
    pub(super) fn committed(&self, partition: Partition) -> Vec<Option<i64>> {
        let reader: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", &self.brokers).set("group.id", &self.group).create().unwrap();
        let mut list = TopicPartitionList::new();
        for topic in self.all_topics() {
            list.add_partition(topic, partition);
        }
        let answered = reader.committed_offsets(list, DEADLINE).unwrap();
        let offset = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| match element.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        };
        answered.elements().iter().map(offset).collect()
    }

    /// Waits until the group has committed this.
    pub(super) async fn until_committed(&self, partition: Partition, expect: &[i64]) {
        let mut seen = Vec::new();
        let expect: Vec<_> = expect.iter().copied().map(Some).collect();
        eventually(DEADLINE, &format!("the commit of {expect:?}"), async || {
            seen = self.committed(partition);
            (seen == expect).then_some(())
        })
        .await;
    }

    /// Deletes the records before `offset`.
    pub(super) async fn delete_before(&self, topic: &str, partition: Partition, offset: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(offset)).unwrap();
        self.admin().delete_records(&list, &AdminOptions::new()).await.unwrap();
    }

    pub(super) async fn delete_topic(&self, topic: &str) {
        let deleted = self.admin().delete_topics(&[topic], &AdminOptions::new()).await.unwrap();
        deleted.into_iter().for_each(|deleted| drop(deleted.unwrap()));
    }

    /// Builds a source.
    pub(super) async fn build(&self, options: Options) -> Result<Driven, BuildError> {
        self.build_with(options, Ports::default()).await
    }

    /// Builds a source that offers its ports here.
    pub(super) async fn build_with(&self, options: Options, ports: Ports) -> Result<Driven, BuildError> {
        let spec = serde_json::from_value(serde_json::json!({
            "connection": "log",
            "topics": self.topics,
            "group": self.group,
            "resume": options.resume.unwrap_or("fail"),
            "session_timeout": options.session_timeout,
            "fetch_max": options.fetch_max,
        }));
        let connections = Connections::new().with("log", self.connection());
        let mut problems = Vec::new();
        let mut cx = CheckContext {
            name: &self.stage,
            inputs: &[],
            connections: &connections,
            topics: &self.declared(),
            problems: &mut problems,
        };
        let checked = KafkaSource::check(spec.unwrap(), &mut cx).ok_or_else(|| format!("{problems:?}")).unwrap();
        let cx = BuildContext {
            topology: "test".into(),
            stage: self.stage.as_str().into(),
            clock: Clock::system(),
            epoch: Epoch(1),
            topics: Arc::new(self.declared()),
            marks: self.marks.as_ref().map(|name| self.declared().get(name)),
            store: Arc::new(NoStore),
            ports,
            downstream: Arc::new([]),
            peers: Default::default(),
        };
        let (reader, acker) = KafkaSource::build(&checked, &cx).await?.split();
        Ok(Driven { reader, acker })
    }

    /// Builds a source that is to start.
    pub(super) async fn start(&self) -> Driven {
        self.build(Options::default()).await.unwrap()
    }
}

/// A source asks nothing of the store.
struct NoStore;

#[async_trait]
impl StateStore for NoStore {
    async fn claim(&self, _: &str, _: &Owner) -> Result<Claim, StoreError> {
        unreachable!()
    }
    async fn renew(&self, _: &str, _: &Owner, _: Epoch) -> Result<(), StoreError> {
        unreachable!()
    }
    async fn release(&self, _: &str, _: &Owner, _: Epoch) -> Result<(), StoreError> {
        unreachable!()
    }
    async fn load_slot(&self, _: &str, _: &str, _: u16) -> Result<Option<SlotRecord>, StoreError> {
        unreachable!()
    }
    async fn save_slot(&self, _: &str, _: &str, _: u16, _: Epoch, _: &SlotRecord) -> Result<(), StoreError> {
        unreachable!()
    }
    async fn open(&self, _: &Scope, _: Epoch) -> Result<Option<CheckpointMeta>, StoreError> {
        unreachable!()
    }
    async fn load_live(&self, _: &Scope, _: Option<u64>) -> Result<SessionPage, StoreError> {
        unreachable!()
    }
    async fn load_passive_page(&self, _: &Scope, _: Option<u64>) -> Result<SessionPage, StoreError> {
        unreachable!()
    }
    async fn number(&self, _: &Scope) -> Result<u64, StoreError> {
        unreachable!()
    }
    async fn load_passive(&self, _: &Scope, _: &[DeviceId]) -> Result<Vec<Option<Bytes>>, StoreError> {
        unreachable!()
    }
    async fn save(&self, _: &Scope, _: Epoch, _: &CheckpointDelta) -> Result<(), StoreError> {
        unreachable!()
    }
}
