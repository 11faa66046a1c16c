//! The half of a producer that the client calls back: delivery reports go into the [`Ledger`], and marks whose turn has
//! come go out. And what the thread that polls the client looks after: whether the brokers are there, and whether it
//! stands still.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;
use telemill_engine::clock::Timestamp;
use telemill_engine::faults;
use telemill_engine::peers::Peer;
use telemill_engine::record::{Kind, Reason};
use tokio::sync::Notify;

use super::bootstrap::Bootstrap;
use super::client::log;
use super::ledger::{DueMark, Ledger};
use super::place::{MARKS, Place};
use super::stall::{Stall, Standing};
use super::topics::EnsuredTopic;
use crate::log::headers::HeaderWriter;
use crate::log::mark::{MARK_VERSION, Mark};

/// How long a sender waits for room before it looks again by itself.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long the brokers may take to say that they are there.
const BROKERS_WITHIN: Duration = Duration::from_secs(1);

/// The client under a producer.
pub(crate) type Client = BaseProducer<Reports>;

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

/// See the module.
pub(crate) struct Reports {
    stage: String,
    /// The brokers, for those who look at the stage.
    brokers: Peer,
    /// A connection failed: whether the brokers are there is to be found out.
    brokers_in_doubt: AtomicBool,
    topics: Vec<String>,
    ledger: Mutex<Ledger>,
    /// The ledger is frozen; read for every record, so not behind its lock.
    broken: AtomicBool,
    wants_room: AtomicBool,
    room: Notify,
    client: OnceLock<Weak<Client>>,
    /// The thread that listens for reports, and whether it sleeps because nothing is under way.
    listener: OnceLock<Thread>,
    is_asleep: AtomicBool,
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
            self.freeze(&self.fatal_error().unwrap_or_else(|| reason.to_owned()));
        }
        self.brokers_in_doubt.store(true, Ordering::Relaxed);
        tracing::warn!(code = "kafka_client", stage = self.stage, %error, "{reason}");
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: usize) {
        let Place { item, topic, index } = Place::unpack(opaque);
        faults::point("kafka.reported");
        let due = {
            let mut ledger = self.ledger();
            match result {
                Ok(message) => ledger.delivered(item, topic, message.partition(), message.offset()),
                Err((error, _)) => match send_error(error) {
                    SendError::Unfit(reason, detail) => ledger.refused(item, index, reason, detail),
                    SendError::Broken(why) => {
                        drop(ledger);
                        return self.freeze(&self.fatal_error().unwrap_or(why));
                    }
                    // Only sending can say so.
                    SendError::Full => {}
                },
            }
            ledger.has_due_mark()
        };
        if self.wants_room.swap(false, Ordering::AcqRel) {
            self.room.notify_one();
        }
        if let Some(client) = due.then(|| self.client()).flatten() {
            self.write_marks(&client);
        }
    }
}

impl Reports {
    pub(super) fn new(
        stage: &str,
        brokers: Peer,
        topics: &[EnsuredTopic],
        marks: Option<&EnsuredTopic>,
        ledger: Ledger,
    ) -> Self {
        Reports {
            stage: stage.to_owned(),
            brokers,
            brokers_in_doubt: AtomicBool::new(false),
            topics: topics.iter().map(|topic| topic.name.clone()).collect(),
            ledger: Mutex::new(ledger),
            broken: AtomicBool::new(false),
            wants_room: AtomicBool::new(false),
            room: Notify::new(),
            client: OnceLock::new(),
            listener: OnceLock::new(),
            is_asleep: AtomicBool::new(false),
            marks: marks.map(|topic| topic.name.clone()),
            writing: Mutex::new(None),
        }
    }

    /// Tells which client these are the reports of; once, when it has been made.
    pub(super) fn belongs_to(&self, client: &Arc<Client>) {
        // A second call would name the same client.
        let _ = self.client.set(Arc::downgrade(client));
    }

    pub(super) fn stage(&self) -> &str {
        &self.stage
    }

    pub(super) fn topic(&self, index: usize) -> &str {
        &self.topics[index]
    }

    pub(super) fn carries_marks(&self) -> bool {
        self.marks.is_some()
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Waits until the client's queue may have room again.
    pub(super) async fn room(&self) {
        self.wants_room.store(true, Ordering::Release);
        // The timeout makes up for a report that came between the refusal and this wait.
        let _ = tokio::time::timeout(LOOK_AGAIN, self.room.notified()).await;
    }

    /// Something was sent: whoever listens for reports must not sleep.
    pub(super) fn expect(&self) {
        if self.is_asleep.load(Ordering::SeqCst) && self.is_asleep.swap(false, Ordering::SeqCst) {
            self.listener.get().into_iter().for_each(Thread::unpark);
        }
    }

    /// For the thread that listens for reports: sleeps until something is sent, at most `limit`, unless something is
    /// under way; whether it slept.
    pub(super) fn sleep_unless(&self, is_under_way: impl Fn() -> bool, limit: Duration) -> bool {
        if is_under_way() {
            return false;
        }
        self.listener.get_or_init(thread::current);
        self.is_asleep.store(true, Ordering::SeqCst);
        // Looked at again behind the flag: what is sent from now on wakes this thread.
        if !is_under_way() {
            thread::park_timeout(limit);
        }
        self.is_asleep.store(false, Ordering::SeqCst);
        true
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn freeze(&self, why: &str) {
        self.ledger().freeze(why);
        self.broken.store(true, Ordering::Relaxed);
        self.room.notify_one();
    }

    fn client(&self) -> Option<Arc<Client>> {
        self.client.get()?.upgrade()
    }

    /// What made the client unusable; its reports of the records that it let go of for it say only that.
    fn fatal_error(&self) -> Option<String> {
        let (code, why) = self.client()?.client().fatal_error()?;
        Some(format!("the idempotent producer failed: {code}: {why}"))
    }

    /// Finds out whether the brokers are there, once that is in doubt. Blocks for [`BROKERS_WITHIN`] at most, and only
    /// while there is nothing to be heard from them.
    ///
    /// The client says when a connection fails, which may have been one of several; it does not say when all is well
    /// again, and while there is nothing to write it may not find out.
    pub(super) fn look_for_brokers(&self, client: &Client, bootstrap: &mut Bootstrap) {
        if self.is_broken() || !self.brokers_in_doubt.load(Ordering::Relaxed) {
            return;
        }
        match client.client().fetch_metadata(self.topics.first().map(String::as_str), BROKERS_WITHIN) {
            Ok(_) => {
                self.brokers_in_doubt.store(false, Ordering::Relaxed);
                self.brokers.back();
                bootstrap.has_answered();
            }
            Err(error) => {
                self.brokers.lost(error);
                bootstrap.begin_again(client.client());
            }
        }
    }

    /// Has it looked for the brokers when nothing was reported for some time: the client does not always say that it has
    /// lost them. Gives the client up when it stands still although the brokers answer and every partition has a leader.
    pub(super) fn look_for_a_stall(&self, client: &Client, stall: &mut Stall) {
        let oldest = self.ledger().oldest_batch();
        match stall.look(oldest, Instant::now()) {
            _ if self.is_broken() => return,
            Standing::Well => return,
            Standing::Doubted => return self.brokers_in_doubt.store(true, Ordering::Relaxed),
            Standing::Suspected => {}
        }
        let has_leaders = |topic: &String| {
            let metadata = client.client().fetch_metadata(Some(topic), BROKERS_WITHIN).ok()?;
            let found = metadata.topics().iter().find(|found| found.name() == topic)?;
            found.partitions().iter().all(|partition| partition.leader() >= 0).then_some(())
        };
        match self.topics.iter().all(|topic| has_leaders(topic).is_some()) {
            true => self.freeze("nothing was reported for long, although kafka answers"),
            false => stall.excuse(Instant::now()),
        }
    }

    pub(super) fn why_broken(&self) -> String {
        self.ledger().frozen().unwrap_or("the producer is closed").to_owned()
    }

    pub(super) fn write_marks(&self, client: &Client) {
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
                let time = Timestamp(mark.alive.time);
                let record: BaseRecord<'_, (), [u8], usize> = BaseRecord::with_opaque_to(topic, place.pack())
                    .partition(*next)
                    .payload(json.as_slice())
                    .headers(HeaderWriter::default().identity(mark.id, time, &Kind::Mark));
                let sent = client.send(record).map_err(|(error, _)| send_error(&error));
                match sent {
                    Ok(()) => {
                        faults::point("kafka.mark");
                        self.expect();
                        *next += 1;
                    }
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
pub(super) fn send_error(error: &KafkaError) -> SendError {
    use RDKafkaErrorCode as Code;
    match error.rdkafka_error_code() {
        Some(Code::QueueFull) => SendError::Full,
        Some(code @ Code::MessageSizeTooLarge) => SendError::Unfit(Reason::TOO_LARGE, code.to_string()),
        Some(code @ Code::InvalidRecord) => SendError::Unfit(Reason("refused_by_log"), code.to_string()),
        Some(code) => SendError::Broken(format!("kafka refused a record that is not at fault: {code}")),
        None => SendError::Broken(error.to_string()),
    }
}
