//! Reading parts of a log outside of any consumer group. All calls block: they belong on a thread of their own
//! ([`off_runtime`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use telemill_engine::clock::Timestamp;
use telemill_engine::ports::PortError;
use thiserror::Error;

use super::client::{Logged, off_runtime};
use super::connection::{KafkaConnection, REQUEST_TIMEOUT};

/// Why a log could not be read.
#[derive(Debug, Error)]
pub(crate) enum ReadError {
    #[error("kafka at {0} is not available: {1}")]
    Kafka(String, KafkaError),
    #[error("kafka at {0} gave nothing of topic `{1}` for {2:?}, and there is more of it")]
    Silent(String, String, Duration),
}

impl From<ReadError> for PortError {
    fn from(error: ReadError) -> Self {
        PortError(error.to_string())
    }
}

/// Offsets `from..end` of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) partition: i32,
    pub(crate) from: i64,
    pub(crate) end: i64,
}

/// A consumer without a group.
pub(crate) struct Reader {
    consumer: BaseConsumer<Logged>,
    brokers: String,
    /// Whether nobody waits for what it reads any more.
    is_left: Arc<AtomicBool>,
}

/// How long one wait for a message may take.
const POLL: Duration = Duration::from_millis(100);

impl Reader {
    /// A reader; it connects when it is first asked something.
    pub(crate) fn open(connection: &KafkaConnection, stage: &str) -> Result<Reader, ReadError> {
        let mut config = connection.client_config();
        config
            // rdkafka gives out messages only to a consumer that has a group; nothing here joins or commits to it.
            .set("group.id", "telemill-reader")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .set("queued.max.messages.kbytes", "16384")
            .set("fetch.wait.max.ms", "50");
        let brokers = connection.brokers().to_owned();
        match config.create_with_context(Logged::new(stage)) {
            Ok(consumer) => Ok(Reader { consumer, brokers, is_left: Arc::default() }),
            Err(error) => Err(ReadError::Kafka(brokers, error)),
        }
    }

    /// The first offset retained, and the one behind the last.
    pub(crate) fn bounds(&self, topic: &str, partition: i32) -> Result<(i64, i64), ReadError> {
        self.consumer.fetch_watermarks(topic, partition, REQUEST_TIMEOUT).map_err(|error| self.failed(error))
    }

    /// For each of the first `partitions` partitions, the offset of the first record at or after a time; the end where
    /// there is none.
    pub(crate) fn offsets_at(&self, topic: &str, partitions: i32, time: Timestamp) -> Result<Vec<i64>, ReadError> {
        let mut wanted = TopicPartitionList::with_capacity(partitions as usize);
        let time = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        for partition in 0..partitions {
            let added = wanted.add_partition_offset(topic, partition, Offset::Offset(time));
            added.map_err(|error| self.failed(error))?;
        }
        let found = self.consumer.offsets_for_times(wanted, REQUEST_TIMEOUT).map_err(|error| self.failed(error))?;
        (0..partitions)
            .map(|partition| match found.find_partition(topic, partition).map(|found| found.offset()) {
                Some(Offset::Offset(offset)) => Ok(offset),
                _ => self.bounds(topic, partition).map(|(_, end)| end),
            })
            .collect()
    }

    /// Gives every record in these ranges to `each`, partition by partition in order; those that are no longer retained
    /// are left out. Fails when nothing comes for as long as `patience`, and when nobody waits for it any more.
    pub(crate) fn read(
        &self,
        topic: &str,
        ranges: &[Range],
        patience: Duration,
        mut each: impl FnMut(&BorrowedMessage<'_>),
    ) -> Result<(), ReadError> {
        let mut open: Vec<Range> = ranges.iter().copied().filter(|range| range.from < range.end).collect();
        if open.is_empty() {
            return Ok(());
        }
        self.assign(topic, open.iter().map(|range| (range.partition, range.from)))?;
        let mut heard = Instant::now();
        while !open.is_empty() {
            if heard.elapsed() > patience || self.is_left.load(Ordering::Relaxed) {
                return Err(ReadError::Silent(self.brokers.clone(), topic.to_owned(), patience));
            }
            match self.consumer.poll(POLL) {
                None => {}
                Some(Ok(message)) => {
                    let Some(at) = open.iter().position(|range| range.partition == message.partition()) else {
                        continue;
                    };
                    heard = Instant::now();
                    if message.offset() < open[at].end {
                        each(&message);
                    }
                    if message.offset() + 1 >= open[at].end {
                        open.swap_remove(at);
                    }
                }
                // The offsets before the end may be markers of transactions, which are no messages.
                Some(Err(KafkaError::PartitionEOF(partition))) => open.retain(|range| range.partition != partition),
                Some(Err(error)) if passes(&error) => {}
                Some(Err(error)) => return Err(self.failed(error)),
            }
        }
        Ok(())
    }

    /// Begins to read partitions of a topic, and no others any more.
    pub(crate) fn assign(&self, topic: &str, from: impl Iterator<Item = (i32, i64)>) -> Result<(), ReadError> {
        let mut wanted = TopicPartitionList::new();
        for (partition, offset) in from {
            let added = wanted.add_partition_offset(topic, partition, Offset::Offset(offset));
            added.map_err(|error| self.failed(error))?;
        }
        self.consumer.assign(&wanted).map_err(|error| self.failed(error))
    }

    /// The next message, if one comes within a tenth of a second.
    pub(crate) fn poll(&self) -> Result<Option<BorrowedMessage<'_>>, ReadError> {
        match self.consumer.poll(POLL) {
            None | Some(Err(KafkaError::PartitionEOF(_))) => Ok(None),
            Some(Ok(message)) => Ok(Some(message)),
            Some(Err(error)) if passes(&error) => Ok(None),
            Some(Err(error)) => Err(self.failed(error)),
        }
    }

    fn failed(&self, error: KafkaError) -> ReadError {
        ReadError::Kafka(self.brokers.clone(), error)
    }
}

/// Whether the client gets over an error by itself.
fn passes(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    let codes = [
        Code::BrokerTransportFailure,
        Code::AllBrokersDown,
        Code::OperationTimedOut,
        Code::RequestTimedOut,
        Code::Resolve,
        Code::NotLeaderForPartition,
        Code::LeaderNotAvailable,
        Code::NotCoordinator,
        Code::CoordinatorNotAvailable,
        Code::CoordinatorLoadInProgress,
        // The offset asked for is no longer there: the reader goes on with the earliest that is.
        Code::AutoOffsetReset,
        Code::OffsetOutOfRange,
    ];
    error.rdkafka_error_code().is_some_and(|code| codes.contains(&code))
}

/// Opens a reader on a thread of its own and runs `work` with it; at most `deadline`. Closing it is not waited for.
pub(crate) async fn with_reader<T: Send + 'static>(
    connection: &KafkaConnection,
    stage: &str,
    deadline: Duration,
    work: impl FnOnce(&Reader) -> Result<T, ReadError> + Send + 'static,
) -> Result<T, PortError> {
    /// However the wait ends.
    struct Waiting(Arc<AtomicBool>);
    impl Drop for Waiting {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let (connection, stage) = (connection.clone(), stage.to_owned());
    let is_left = Arc::<AtomicBool>::default();
    let _waiting = Waiting(is_left.clone());
    let done = off_runtime(deadline, move |result| match Reader::open(&connection, &stage) {
        Ok(mut reader) => {
            reader.is_left = is_left;
            // Nobody waits any more when the deadline has passed.
            let _ = result.send(work(&reader));
        }
        Err(error) => {
            let _ = result.send(Err(error));
        }
    });
    match done.await {
        Ok(done) => Ok(done?),
        Err(late) => Err(PortError(format!("reading from kafka: {late}"))),
    }
}
