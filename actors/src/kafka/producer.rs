//! The idempotent producer that router and dead letters share.
//!
//! Guarantees: what is sent to a partition arrives in the order of sending, once; what is reported is on every in-sync
//! replica; an outage of the brokers is waited out, however long (`message.timeout.ms=0`). One thread takes the delivery
//! reports and books them in the [`Ledger`]; each report carries the place of its record there as a plain number, so
//! that a record costs no allocation for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext, PurgeConfig};
use rdkafka::types::RDKafkaErrorCode;
use telemill_engine::record::{Kind, Reason};
use telemill_engine::stage::BuildError;
use tokio::sync::{Notify, watch};

use super::client::log;
use super::connection::KafkaConnection;
use super::headers::HeaderWriter;
use super::ledger::{DueMark, ItemKey, Ledger, Offsets, Target};
use super::mark::{MARK_VERSION, Mark};
use super::topics::EnsuredTopic;

/// The client under a [`Producer`].
pub(crate) type Client = BaseProducer<Reports>;

/// How a producer trades latency, CPU and memory.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) linger: Duration,
    pub(crate) compression: &'static str,
    /// The most bytes that wait in the client; beyond it, sending waits.
    pub(crate) buffer: u64,
}

/// The most records that wait in the client, whatever their size.
const BUFFERED_RECORDS: &str = "100000";
/// The largest batch of records in one request, where the topics do not allow for less.
const BATCH_BYTES: u64 = 1_000_000;
/// How long the reporting thread sleeps when nothing happens. It also writes the marks that found the queue full.
const IDLE: Duration = Duration::from_millis(100);
/// How long a producer that is let go of waits for the answers to what is on the wire.
const IN_FLIGHT: Duration = Duration::from_secs(5);

/// See the module.
pub(crate) struct Producer {
    client: Arc<Client>,
    reports: Arc<Reports>,
    poller: Option<Poller>,
    closed: watch::Sender<bool>,
}

struct Poller {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// A record on its way.
pub(crate) struct Outgoing<'a> {
    /// An index into the producer's topics.
    pub(crate) topic: usize,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: &'a [u8],
    pub(crate) headers: OwnedHeaders,
}

/// Why a record was not sent.
#[derive(Debug)]
pub(crate) enum SendError {
    /// The client's queue is full: try again when there is room.
    Full,
    /// The record is at fault.
    Unfit(Reason, String),
    /// The producer is unusable.
    Broken(String),
}

impl Producer {
    /// A producer for these topics. `marks`: the topic that marks are written to, if they are.
    pub(crate) fn connect(
        connection: &KafkaConnection,
        stage: &str,
        settings: &Settings,
        topics: &[EnsuredTopic],
        marks: Option<&EnsuredTopic>,
        before: Offsets,
    ) -> Result<Producer, BuildError> {
        let limits = || topics.iter().chain(marks).map(|topic| topic.max_message_bytes);
        let largest = limits().max().unwrap_or(BATCH_BYTES).clamp(1000, 1_000_000_000);
        // A batch that a topic refuses for its size would take all its records with it.
        let batch = limits().min().unwrap_or(BATCH_BYTES).min(BATCH_BYTES);
        let mut config = connection.producer_config();
        config
            .set("message.timeout.ms", "0")
            .set("message.max.bytes", largest.to_string())
            .set("batch.size", batch.to_string())
            .set("linger.ms", settings.linger.as_millis().to_string())
            .set("compression.type", settings.compression)
            .set("queue.buffering.max.messages", BUFFERED_RECORDS)
            .set("queue.buffering.max.kbytes", settings.buffer.div_ceil(1024).to_string());

        let target = |topic: &EnsuredTopic| Target { topic: topic.name.clone(), partitions: topic.partitions };
        let targets = topics.iter().map(target).collect();
        let mark_partitions = marks.map_or(0, |topic| topic.partitions);
        let reports = Reports {
            stage: stage.to_owned(),
            topics: topics.iter().map(|topic| topic.name.clone()).collect(),
            ledger: Mutex::new(Ledger::new(targets, mark_partitions, before)),
            broken: AtomicBool::new(false),
            wants_room: AtomicBool::new(false),
            room: Notify::new(),
            client: OnceLock::new(),
            marks: marks.map(|topic| topic.name.clone()),
            writing: Mutex::new(None),
        };
        let failed = |why: String| BuildError::Impossible(format!("cannot make a kafka producer: {why}"));
        let client: Client = config.create_with_context(reports).map_err(|error| failed(error.to_string()))?;
        let client = Arc::new(client);
        let reports = client.client().context().clone();
        // The context is new, so that nobody has set it before.
        let _ = reports.client.set(Arc::downgrade(&client));
        let poller = Poller::start(&client).map_err(|error| failed(error.to_string()))?;
        Ok(Producer { client, reports, poller: Some(poller), closed: watch::Sender::new(false) })
    }

    /// Hands a record to the client, which copies it. Never blocks.
    pub(crate) fn send(&self, item: ItemKey, index: usize, record: Outgoing<'_>) -> Result<(), SendError> {
        if self.reports.broken.load(Ordering::Relaxed) {
            return Err(SendError::Broken(self.reports.why_broken()));
        }
        let place = Place { item, topic: record.topic, index };
        let mut base: BaseRecord<'_, [u8], [u8], usize> =
            BaseRecord::with_opaque_to(&self.reports.topics[record.topic], place.pack())
                .payload(record.value)
                .headers(record.headers);
        base.key = record.key;
        self.client.send(base).map_err(|(error, _)| send_error(&error))
    }

    /// What is in flight.
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.reports.ledger()
    }

    /// Whether marks are written.
    pub(crate) fn carries_marks(&self) -> bool {
        self.reports.marks.is_some()
    }

    /// Nothing more can be trusted to arrive in order.
    pub(crate) fn freeze(&self, why: &str) {
        self.reports.freeze(why);
    }

    /// Writes the marks whose turn has come.
    pub(crate) fn write_marks(&self) {
        self.reports.write_marks(&self.client);
    }

    /// Waits until the client's queue may have room again.
    pub(crate) async fn room(&self) {
        self.reports.wants_room.store(true, Ordering::Release);
        // The timeout makes up for a report that came between the refusal and this wait.
        let _ = tokio::time::timeout(Duration::from_millis(20), self.reports.room.notified()).await;
    }

    /// The producer as those see it who outlive it.
    pub(crate) fn view(&self) -> ProducerView {
        let client = Arc::downgrade(&self.client);
        ProducerView { client, reports: self.reports.clone(), closed: self.closed.subscribe() }
    }

    /// Sends what is queued, then lets go of the connection; at most `deadline`.
    pub(crate) async fn close(&mut self, deadline: Duration) {
        let mut closed = self.closed.subscribe();
        self.retire(Some(deadline));
        // What takes longer goes on on its own thread.
        let _ = tokio::time::timeout(deadline, closed.wait_for(|closed| *closed)).await;
    }

    /// Ends the client on a thread of its own, because that can take its time. What is on the wire is waited for: its
    /// fate must be known before anybody looks what has arrived.
    fn retire(&mut self, flush: Option<Duration>) {
        let Some(poller) = self.poller.take() else { return };
        let (client, reports, closed) = (self.client.clone(), self.reports.clone(), self.closed.clone());
        let work = move || {
            if let Some(deadline) = flush {
                let _ = client.flush(deadline);
            }
            reports.freeze("the producer was closed");
            client.purge(PurgeConfig::default().queue());
            if let Err(error) = client.flush(IN_FLIGHT) {
                tracing::warn!(code = "kafka_close", stage = reports.stage, %error, "closed with records on the wire");
            }
            poller.stop.store(true, Ordering::Relaxed);
            // A thread that panicked has said so.
            let _ = poller.thread.join();
            drop(client);
            closed.send_replace(true);
        };
        if flush.is_none() {
            self.reports.freeze("the producer was let go of");
        }
        if let Err(error) = std::thread::Builder::new().name("kafka close".to_owned()).spawn(work) {
            tracing::error!(code = "kafka_close", stage = self.reports.stage, %error, "cannot close the producer");
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.retire(None);
    }
}

/// A producer seen from outside, without keeping it alive.
#[derive(Clone)]
pub(crate) struct ProducerView {
    client: Weak<Client>,
    reports: Arc<Reports>,
    closed: watch::Receiver<bool>,
}

impl ProducerView {
    /// The client, while there is one.
    pub(crate) fn client(&self) -> Option<Arc<Client>> {
        self.client.upgrade()
    }

    /// What was in flight.
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.reports.ledger()
    }

    /// Resolves when everything sent so far is reported or, on a producer that failed, when nothing of it can arrive any
    /// more. False when that took longer than `deadline`.
    pub(crate) async fn settled(&self, deadline: Duration) -> bool {
        let settled = async {
            let fence = self.ledger().fence();
            if fence.await.is_err() { self.clone().closed.wait_for(|closed| *closed).await.is_ok() } else { true }
        };
        tokio::time::timeout(deadline, settled).await.unwrap_or(false)
    }
}

impl Poller {
    fn start(client: &Arc<Client>) -> std::io::Result<Poller> {
        let stop = Arc::new(AtomicBool::new(false));
        let (client, stopped) = (client.clone(), stop.clone());
        let thread = std::thread::Builder::new().name("kafka reports".to_owned()).spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                client.poll(IDLE);
                client.context().write_marks(&client);
            }
        })?;
        Ok(Poller { stop, thread })
    }
}

/// The producer's half that the client calls back.
pub(crate) struct Reports {
    stage: String,
    topics: Vec<String>,
    ledger: Mutex<Ledger>,
    /// The ledger is frozen; read for every record, so not behind its lock.
    broken: AtomicBool,
    wants_room: AtomicBool,
    room: Notify,
    client: OnceLock<Weak<Client>>,
    marks: Option<String>,
    /// The mark that is being written, and the next partition to write it to. Its lock keeps marks in order.
    writing: Mutex<Option<(DueMark, i32)>>,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(&self.stage, level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.freeze(&format!("the idempotent producer failed: {reason}"));
        }
        tracing::warn!(code = "kafka_client", stage = self.stage, %error, "{reason}");
    }

    fn stats_raw(&self, _statistics: &[u8]) {}
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: usize) {
        let Place { item, topic, index } = Place::unpack(opaque);
        let due = {
            let mut ledger = self.ledger();
            match result {
                Ok(message) => ledger.delivered(item, topic, message.partition(), message.offset()),
                Err((error, _)) => match send_error(error) {
                    SendError::Unfit(reason, detail) => ledger.refused(item, index, reason, detail),
                    SendError::Broken(why) => {
                        drop(ledger);
                        return self.freeze(&why);
                    }
                    SendError::Full => {}
                },
            }
            ledger.has_due_mark()
        };
        if self.wants_room.swap(false, Ordering::AcqRel) {
            self.room.notify_one();
        }
        if let Some(client) = due.then(|| self.client.get()?.upgrade()).flatten() {
            self.write_marks(&client);
        }
    }
}

impl Reports {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn freeze(&self, why: &str) {
        self.ledger().freeze(why);
        self.broken.store(true, Ordering::Relaxed);
        self.room.notify_one();
    }

    fn why_broken(&self) -> String {
        self.ledger().frozen().unwrap_or_default().to_owned()
    }

    fn write_marks(&self, client: &Client) {
        let Some(topic) = &self.marks else { return };
        let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if writing.is_none() {
                *writing = self.ledger().take_due_mark().map(|mark| (mark, 0));
            }
            let Some((mark, next)) = writing.as_mut() else { return };
            while let Some(delivered) = usize::try_from(*next).ok().and_then(|p| mark.delivered.get_mut(p)) {
                let place = Place { item: mark.item, topic: MARKS, index: 0 };
                let value = Mark { v: MARK_VERSION, alive: mark.alive, delivered: std::mem::take(delivered) };
                let json = serde_json::to_vec(&value).expect("a mark is plain data");
                let time = telemill_engine::clock::Timestamp(mark.alive.time);
                let record: BaseRecord<'_, (), [u8], usize> = BaseRecord::with_opaque_to(topic, place.pack())
                    .partition(*next)
                    .payload(json.as_slice())
                    .headers(HeaderWriter::default().identity(mark.id, time, &Kind::Mark));
                let sent = client.send(record).map_err(|(error, _)| send_error(&error));
                match sent {
                    Ok(()) => *next += 1,
                    Err(SendError::Full) => {
                        *delivered = value.delivered;
                        return;
                    }
                    Err(SendError::Unfit(_, why) | SendError::Broken(why)) => {
                        *writing = None;
                        return self.freeze(&format!("cannot write a mark: {why}"));
                    }
                }
            }
            *writing = None;
        }
    }
}

/// What an error of the client means for the record that it was given with.
fn send_error(error: &KafkaError) -> SendError {
    use RDKafkaErrorCode as Code;
    match error.rdkafka_error_code() {
        Some(Code::QueueFull) => SendError::Full,
        Some(code @ Code::MessageSizeTooLarge) => SendError::Unfit(Reason::TOO_LARGE, code.to_string()),
        Some(code @ Code::InvalidRecord) => SendError::Unfit(Reason("refused_by_log"), code.to_string()),
        Some(code) => SendError::Broken(format!("kafka refused a record that is not at fault: {code}")),
        None => SendError::Broken(error.to_string()),
    }
}

/// Where a record stands in the ledger: packed into the number that the client gives back with its report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    item: ItemKey,
    topic: usize,
    index: usize,
}

const INDEX_BITS: u32 = 20;
const TOPIC_BITS: u32 = 12;
/// Stands for the topic of the marks.
const MARKS: usize = (1 << TOPIC_BITS) - 1;
/// The most topics that one producer writes.
pub(crate) const MAX_TOPICS: usize = MARKS;
/// The most records in one batch.
pub(crate) const MAX_BATCH: usize = 1 << INDEX_BITS;

const _: () = assert!(usize::BITS == 64, "a place is packed into 64 bits");

impl Place {
    fn pack(self) -> usize {
        debug_assert!(self.topic <= MARKS && self.index < MAX_BATCH, "checked where batches and topics are taken");
        (self.item.0 as usize) << (TOPIC_BITS + INDEX_BITS) | self.topic << INDEX_BITS | self.index
    }

    fn unpack(packed: usize) -> Place {
        Place {
            item: ItemKey((packed >> (TOPIC_BITS + INDEX_BITS)) as u32),
            topic: packed >> INDEX_BITS & MARKS,
            index: packed & (MAX_BATCH - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_the_client() {
        let check = |item, topic, index| {
            let place = Place { item: ItemKey(item), topic, index };
            assert_eq!(Place::unpack(place.pack()), place);
        };
        check(0, 0, 0);
        check(u32::MAX, MARKS, MAX_BATCH - 1);
        check(7, 3, 511);
    }
}
