//! A Kafka component's surroundings, and a look at the log that owes nothing to the code under test.

mod hole;
mod store;

pub use hole::FetchHole;
pub use store::NoStore;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};
use telemill_actors::kafka::connection::KafkaConnection;
use telemill_actors::log::murmur2;
use telemill_engine::ack::Guards;
use telemill_engine::batch::Batch;
use telemill_engine::clock::Clock;
use telemill_engine::context::{BuildContext, CheckContext, Connection, Connections, TopicDecl, Topics};
use telemill_engine::ports::Ports;
use telemill_engine::position::Epoch;
use telemill_engine::record::{Origin, Record};
use telemill_engine::sink::{Completion, Submitted};
use telemill_engine::stage::Component;
use telemill_engine::testing::record;
use telemill_services::{Services, unique_name};
use ulid::Ulid;

/// How long anything may take that is expected to happen.
pub const SOON: Duration = Duration::from_secs(60);

/// The partition of a key.
pub fn partition_of(key: &str, partitions: i32) -> i32 {
    murmur2::partition_of(key.as_bytes(), partitions)
}

/// The surroundings of one component: a cluster, topics of its own, ports.
pub struct Site {
    pub brokers: String,
    pub topics: Topics,
    pub marks: Option<TopicDecl>,
    pub ports: Ports,
    pub clock: Clock,
}

impl Site {
    /// On the cluster that all tests share.
    pub fn shared() -> Site {
        Site::on(Services::shared().kafka_brokers())
    }

    /// On this cluster.
    pub fn on(brokers: &str) -> Site {
        Site {
            brokers: brokers.to_owned(),
            topics: Topics::default(),
            marks: None,
            ports: Ports::default(),
            clock: Clock::system(),
        }
    }

    /// Declares a topic that no other test has, and gives its name.
    pub fn topic(&mut self, prefix: &str, partitions: i32) -> String {
        self.declare(prefix, |topic| topic.partitions = partitions)
    }

    /// The same, declared as `set` says.
    pub fn declare(&mut self, prefix: &str, set: impl FnOnce(&mut TopicDecl)) -> String {
        let name = unique_name(prefix);
        let mut topic = TopicDecl { name: name.clone(), partitions: 3, ..self.topics.defaults.clone() };
        set(&mut topic);
        self.topics.declared.insert(name.clone(), topic);
        name
    }

    pub fn connection(&self) -> KafkaConnection {
        let spec = serde_json::from_value(json!({ "brokers": [self.brokers] })).unwrap();
        self.with_check(&Connections::new(), |cx| KafkaConnection::check(spec, cx))
    }

    /// A checked component of this spec, whose connection is named `log`.
    pub fn check<C: Component>(&self, spec: Value) -> C::Checked {
        let connections = Connections::new().with("log", Arc::new(self.connection()));
        let spec: C::Spec = serde_json::from_value(spec).unwrap();
        self.with_check(&connections, |cx| C::check(spec, cx))
    }

    fn with_check<T>(&self, connections: &Connections, check: impl FnOnce(&mut CheckContext<'_>) -> Option<T>) -> T {
        let mut problems = Vec::new();
        let topics = &self.topics;
        let mut cx = CheckContext { name: "stage", inputs: &[], connections, topics, problems: &mut problems };
        let checked = check(&mut cx);
        checked.unwrap_or_else(|| panic!("{problems:?}"))
    }

    pub fn cx(&self) -> BuildContext {
        BuildContext {
            topology: "test".into(),
            stage: "stage".into(),
            clock: self.clock.clone(),
            epoch: Epoch(1),
            topics: Arc::new(self.topics.clone()),
            marks: self.marks.clone(),
            store: Arc::new(NoStore),
            ports: self.ports.clone(),
            downstream: Arc::new([]),
            peers: Default::default(),
        }
    }

    /// Everything in a topic, partition by partition in order.
    pub fn read(&self, topic: &str) -> Vec<Message> {
        read_all(&self.brokers, topic)
    }
}

/// A message as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub partition: i32,
    pub offset: i64,
    pub key: Option<String>,
    pub value: Bytes,
    pub headers: Vec<(String, String)>,
}

impl Message {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.value).unwrap()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.value).unwrap()
    }
}

/// How long a client is given to find something out before a new one is asked.
const ASK: Duration = Duration::from_secs(3);

/// A consumer that knows where a topic's partitions end, and these ends. A topic that was just made may have no leader
/// for a moment, as after a pause of the broker; a client that asked in that moment may wait for one in vain, so that
/// each try has a client of its own.
fn at_ends(brokers: &str, topic: &str) -> (BaseConsumer, Vec<i64>) {
    telemill_services::wait_until(SOON, "a leader for every partition", || {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", unique_name("look"))
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .create()
            .unwrap();
        let metadata = consumer.fetch_metadata(Some(topic), ASK).ok()?;
        let partitions = metadata.topics()[0].partitions().len() as i32;
        let end = |partition| consumer.fetch_watermarks(topic, partition, ASK).ok().map(|(_, end)| end);
        let ends = (0..partitions).map(end).collect::<Option<Vec<i64>>>()?;
        Some((consumer, ends))
    })
}

fn read_all(brokers: &str, topic: &str) -> Vec<Message> {
    let (consumer, ends) = at_ends(brokers, topic);
    let partitions = ends.len() as i32;
    let mut wanted = TopicPartitionList::new();
    for partition in 0..partitions {
        wanted.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&wanted).unwrap();
    let mut left: i64 = ends.iter().sum();
    let mut messages = Vec::new();
    let since = Instant::now();
    while left > 0 {
        assert!(since.elapsed() < SOON, "{left} records of `{topic}` are missing");
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message.unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let headers = message
            .headers()
            .map(|headers| headers.iter().map(|header| (header.key.to_owned(), text(header.value.unwrap()))).collect());
        messages.push(Message {
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(text),
            value: Bytes::copy_from_slice(message.payload().unwrap_or_default()),
            headers: headers.unwrap_or_default(),
        });
        left -= 1;
    }
    messages.sort_by_key(|message| (message.partition, message.offset));
    messages
}

/// A batch of these records that nothing hangs on.
pub fn batch(records: Vec<Record>) -> Arc<Batch> {
    Arc::new(Batch::new(0, records, Guards::none()))
}

/// The answer to a batch, which must come.
pub async fn answer(completion: Completion) -> Submitted {
    tokio::time::timeout(SOON, completion).await.expect("the batch is answered in time")
}

/// The same, and it must be `Delivered`.
pub async fn delivered(completion: Completion) {
    let answer = answer(completion).await;
    assert!(matches!(answer, Submitted::Delivered), "{answer:?}");
}

/// The `delivery`-th production of a slot's session.
pub fn produced(device: &str, slot_session: Ulid, delivery: u64) -> Record {
    let mut record = record(device, delivery as usize);
    let packet_id = (delivery % 65_535) as u16 + 1;
    record.origin = Some(Origin { slot: 0, slot_session, delivery, packet_id, payload_hash: delivery });
    record
}

/// The same record with another kind.
pub fn of_kind(record: Record, kind: &str) -> Record {
    Record { kind: kind.into(), ..record }
}
