//! What is in Kafka, read by a plain consumer.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use telemill_services::wait_until;

use super::DEADLINE;

const ANSWER: Duration = Duration::from_secs(20);

/// A record as it is in the log.
#[derive(Clone, Debug)]
pub struct LogRecord {
    pub partition: i32,
    pub offset: i64,
    pub key: Option<String>,
    pub value: Vec<u8>,
    pub headers: BTreeMap<String, String>,
}

impl LogRecord {
    /// The value, which must be text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.value).expect("the value is UTF-8")
    }

    /// A header that must be there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no header {name} on {self:?}"))
    }
}

/// Reads topics of a cluster.
pub struct Reader {
    brokers: String,
}

impl Reader {
    pub fn new(brokers: &str) -> Reader {
        Reader { brokers: brokers.to_owned() }
    }

    fn consumer(&self, group: &str) -> BaseConsumer {
        ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "error")
            .set("fetch.wait.max.ms", "10")
            .create()
            .expect("the settings are good")
    }

    /// Everything that is in a topic now, partition by partition, in order. Nothing where there is no such topic.
    pub fn all(&self, topic: &str) -> Vec<LogRecord> {
        self.since(topic, &mut BTreeMap::new())
    }

    /// Everything in a topic from these offsets on, by partition (from the beginning where there is none); they move on
    /// to the end.
    pub fn since(&self, topic: &str, from: &mut BTreeMap<i32, i64>) -> Vec<LogRecord> {
        let consumer = self.consumer("reader");
        let ends = self.ends(&consumer, topic);
        let mut assignment = TopicPartitionList::new();
        let mut left: BTreeMap<i32, i64> = BTreeMap::new();
        for (partition, (low, high)) in ends {
            let start = from.insert(partition, high).unwrap_or(low).max(low);
            if high > start {
                left.insert(partition, high);
                assignment.add_partition_offset(topic, partition, Offset::Offset(start)).expect("an offset");
            }
        }
        consumer.assign(&assignment).expect("partitions that are there");
        let mut records = Vec::new();
        let start = Instant::now();
        while !left.is_empty() {
            assert!(start.elapsed() < DEADLINE, "cannot read {topic} to its end: {left:?} missing");
            let Some(message) = consumer.poll(Duration::from_millis(500)) else { continue };
            let message = message.expect("the log can be read");
            let record = own(&message);
            if left.get(&record.partition).is_some_and(|high| record.offset + 1 >= *high) {
                left.remove(&record.partition);
            }
            records.push(record);
        }
        records.sort_by_key(|record| (record.partition, record.offset));
        records
    }

    /// How many records there are in a topic.
    pub fn count(&self, topic: &str) -> i64 {
        self.ends(&self.consumer("reader"), topic).values().map(|(low, high)| high - low).sum()
    }

    /// How many records of a topic a group has not committed.
    pub fn lag(&self, group: &str, topic: &str) -> i64 {
        let committed = self.committed(group, topic);
        let ends = self.ends(&self.consumer("reader"), topic);
        ends.iter().map(|(partition, (low, high))| high - committed.get(partition).unwrap_or(low)).sum()
    }

    /// What a group has committed, by partition: the next offset to read.
    pub fn committed(&self, group: &str, topic: &str) -> BTreeMap<i32, i64> {
        let consumer = self.consumer(group);
        let mut partitions = TopicPartitionList::new();
        for partition in self.ends(&consumer, topic).into_keys() {
            partitions.add_partition(topic, partition);
        }
        let committed = consumer.committed_offsets(partitions, ANSWER).expect("the cluster answers");
        let offset = |e: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| match e.offset() {
            Offset::Offset(offset) => Some((e.partition(), offset)),
            _ => None,
        };
        committed.elements().iter().filter_map(offset).collect()
    }

    /// First offset and end of each partition. A broker that has just come back does not know them yet.
    fn ends(&self, consumer: &BaseConsumer, topic: &str) -> BTreeMap<i32, (i64, i64)> {
        let metadata = consumer.fetch_metadata(Some(topic), ANSWER).expect("the cluster answers");
        let found = metadata.topics().iter().find(|t| t.name() == topic && t.error().is_none());
        let partitions = found.map(|t| t.partitions()).unwrap_or_default().iter().map(|p| p.id());
        let what = format!("the ends of {topic}");
        let ends = |p| wait_until(DEADLINE, &what, || consumer.fetch_watermarks(topic, p, ANSWER).ok());
        partitions.map(|p| (p, ends(p))).collect()
    }
}

/// What a group has committed, asked again and again over one connection.
pub struct Committed(BaseConsumer);

impl Committed {
    pub fn of(brokers: &str, group: &str) -> Committed {
        Committed(Reader::new(brokers).consumer(group))
    }

    /// The next offset to read of each partition of a topic that has one; nothing while the cluster does not answer.
    pub fn now(&self, topic: &str, partitions: i32) -> Vec<(i32, i64)> {
        const SOON: Duration = Duration::from_millis(500);
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition_range(topic, 0, partitions - 1);
        let Ok(found) = self.0.committed_offsets(wanted, SOON) else { return Vec::new() };
        let offset = |e: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| match e.offset() {
            Offset::Offset(offset) => Some((e.partition(), offset)),
            _ => None,
        };
        found.elements().iter().filter_map(offset).collect()
    }
}

fn own(message: &impl Message) -> LogRecord {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("it is UTF-8");
    let headers = message
        .headers()
        .map(|headers| headers.iter().map(|h| (h.key.to_owned(), text(h.value.unwrap_or_default()))).collect());
    LogRecord {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(text),
        value: message.payload().unwrap_or_default().to_vec(),
        headers: headers.unwrap_or_default(),
    }
}
