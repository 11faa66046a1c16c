//! The idempotent producer that router and dead letters share.
//!
//! Guarantees: what is sent to a partition arrives in the order of sending, once; what is reported is on every in-sync
//! replica; an outage of the brokers is waited out, however long (`message.timeout.ms=0`). One thread takes the delivery
//! reports and books them in the [`Ledger`]; each report carries the place of its record there as a plain number, so
//! that a record costs no allocation for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseRecord, Producer as _, PurgeConfig};
use telemill_engine::peers::Peers;
use telemill_engine::stage::BuildError;
use tokio::sync::watch;

use super::bootstrap::Bootstrap;
use super::connection::KafkaConnection;
use super::ledger::{ItemKey, Ledger, Offsets, Target};
use super::place::Place;
use super::reports::{Client, Reports, SendError, send_error};
use super::stall::Stall;
use super::topics::EnsuredTopic;
use crate::log::form::Outgoing;

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
/// How long the reporting thread listens for reports at a time. It also writes the marks that found the queue full. At
/// the end of each time the client library spins for up to a millisecond: so not too short.
const LISTEN: Duration = Duration::from_millis(500);
/// How long the reporting thread sleeps when nothing is under way, unless something is sent.
const SLEEP: Duration = Duration::from_secs(1);
/// How long a producer that is let go of waits for the answers to what is on the wire.
const IN_FLIGHT: Duration = Duration::from_secs(5);

/// See the module.
pub(crate) struct Producer {
    /// None once it is closed.
    client: Option<Arc<Client>>,
    reports: Arc<Reports>,
    poller: Option<Poller>,
    closed: watch::Sender<bool>,
}

struct Poller {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Producer {
    /// A producer for these topics. `marks`: the topic that marks are written to, if they are.
    pub(crate) fn connect(
        connection: &KafkaConnection,
        stage: &str,
        peers: &Peers,
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
        let ledger = Ledger::new(targets, mark_partitions, before);
        let brokers = peers.peer(connection.peer());
        let reports = Reports::new(stage, brokers, topics, marks, ledger);
        let failed = |why: String| BuildError::Impossible(format!("cannot make a kafka producer: {why}"));
        let client: Client = config.create_with_context(reports).map_err(|error| failed(error.to_string()))?;
        let client = Arc::new(client);
        let reports = client.client().context().clone();
        reports.belongs_to(&client);
        let poller = Poller::start(&client, Bootstrap::of(connection)).map_err(|error| failed(error.to_string()))?;
        Ok(Producer { client: Some(client), reports, poller: Some(poller), closed: watch::Sender::new(false) })
    }

    /// Hands a record to the client, which copies it. Never blocks.
    pub(crate) fn send(
        &self,
        item: ItemKey,
        index: usize,
        record: Outgoing<'_, OwnedHeaders>,
    ) -> Result<(), SendError> {
        let Some(client) = self.client.as_ref().filter(|_| !self.reports.is_broken()) else {
            return Err(SendError::Broken(self.reports.why_broken()));
        };
        let place = Place { item, topic: record.topic, index };
        let mut base: BaseRecord<'_, [u8], [u8], usize> =
            BaseRecord::with_opaque_to(self.reports.topic(record.topic), place.pack())
                .payload(record.value)
                .headers(record.headers);
        base.key = record.key;
        client.send(base).map_err(|(error, _)| send_error(&error))?;
        self.reports.expect();
        Ok(())
    }

    /// What is in flight.
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.reports.ledger()
    }

    /// Whether marks are written.
    pub(crate) fn carries_marks(&self) -> bool {
        self.reports.carries_marks()
    }

    /// Nothing more can be trusted to arrive in order.
    pub(crate) fn freeze(&self, why: &str) {
        self.reports.freeze(why);
    }

    /// Writes the marks whose turn has come.
    pub(crate) fn write_marks(&self) {
        if let Some(client) = &self.client {
            self.reports.write_marks(client);
        }
    }

    /// Waits until the client's queue may have room again.
    pub(crate) async fn room(&self) {
        self.reports.room().await;
    }

    /// The producer as those see it who outlive it.
    pub(crate) fn view(&self) -> ProducerView {
        let client = self.client.as_ref().map(Arc::downgrade).unwrap_or_default();
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
        let (Some(poller), Some(client)) = (self.poller.take(), self.client.take()) else { return };
        let (reports, closed) = (self.reports.clone(), self.closed.clone());
        let work = move || {
            if let Some(deadline) = flush {
                let _ = client.flush(deadline);
            }
            reports.freeze("the producer was closed");
            client.purge(PurgeConfig::default().queue());
            if let Err(error) = client.flush(IN_FLIGHT) {
                tracing::warn!(code = "kafka_close", stage = reports.stage(), %error, "closed with records on the wire");
            }
            poller.stop.store(true, Ordering::Relaxed);
            poller.thread.thread().unpark();
            // A thread that panicked has said so.
            let _ = poller.thread.join();
            drop(client);
            closed.send_replace(true);
        };
        if flush.is_none() {
            self.reports.freeze("the producer was let go of");
        }
        if let Err(error) = std::thread::Builder::new().name("kafka close".to_owned()).spawn(work) {
            tracing::error!(code = "kafka_close", stage = self.reports.stage(), %error, "cannot close the producer");
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

    #[cfg(test)]
    pub(crate) fn freeze(&self, why: &str) {
        self.reports.freeze(why);
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
    fn start(client: &Arc<Client>, mut bootstrap: Bootstrap) -> std::io::Result<Poller> {
        let stop = Arc::new(AtomicBool::new(false));
        let (client, stopped) = (client.clone(), stop.clone());
        let thread = std::thread::Builder::new().name("kafka reports".to_owned()).spawn(move || {
            let reports = client.context();
            let mut stall = Stall::new(Instant::now());
            while !stopped.load(Ordering::Relaxed) {
                let slept = reports.sleep_unless(|| client.in_flight_count() > 0, SLEEP);
                // Also after a sleep: that the brokers are gone is heard only here.
                client.poll(if slept { Duration::ZERO } else { LISTEN });
                reports.write_marks(&client);
                reports.look_for_brokers(&client, &mut bootstrap);
                reports.look_for_a_stall(&client, &mut stall);
            }
        })?;
        Ok(Poller { stop, thread })
    }
}
