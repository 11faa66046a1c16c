//! A source like an ingress: no positions, redelivery of what is not acknowledged, a mark every second.
//!
//! As the real one does, it writes its slot's record before it connects, which proves that this instance owns the slot:
//! so that two never take the session from each other in turns.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep, sleep_until};
use ulid::Ulid;

use crate::batch::Previous;
use crate::checkpoint::{SlotRecord, StoreError};
use crate::clock::Timestamp;
use crate::context::BuildContext;
use crate::position::Partition;
use crate::record::{EventId, Kind, Record};
use crate::source::{Acker, Source, SourceBatch, SourceError, SourceEvent, SourceReader};
use crate::testing::checker;
use crate::testing::world::{DEAD, Message, World};

const MARK_EVERY: Duration = Duration::from_secs(1);
const SESSION: Ulid = Ulid(7);

/// Reads the world's broker.
pub struct SimProducer {
    world: Arc<World>,
    cx: BuildContext,
}

impl SimProducer {
    /// An ingress that is about to connect.
    pub fn new(world: &Arc<World>, cx: &BuildContext) -> Self {
        SimProducer { world: world.clone(), cx: cx.clone() }
    }
}

/// The connection, and the numbers of each batch that is out.
#[derive(Default)]
struct Link {
    connection: Option<u64>,
    open: BTreeMap<u64, Vec<u64>>,
}

type SharedLink = Arc<Mutex<Link>>;

fn lock(link: &SharedLink) -> MutexGuard<'_, Link> {
    link.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Source for SimProducer {
    type Reader = Reader;
    type Acker = Confirmer;

    fn split(self) -> (Reader, Confirmer) {
        let SimProducer { world, cx } = self;
        let link = SharedLink::default();
        let confirmer = Confirmer { world: world.clone(), link: link.clone() };
        let (since, next_mark) = (cx.clock.now(), Instant::now() + MARK_EVERY);
        (Reader { world, cx, link, behind: None, tag: 0, since, next_mark }, confirmer)
    }
}

/// The reading half.
pub struct Reader {
    world: Arc<World>,
    cx: BuildContext,
    link: SharedLink,
    behind: Option<u64>,
    tag: u64,
    since: Timestamp,
    next_mark: Instant,
}

/// What an ingress makes of a message.
fn record_of(message: &Message, now: Timestamp) -> Record {
    let Message { number, device, poison } = message;
    let id = EventId(Ulid::from_parts(*number, u128::from(*number)));
    let device = device.parse().expect("simulated devices have fit names");
    let payload = Bytes::from(format!(r#"{{"n":{number},"poison":"{}"}}"#, poison.word()));
    Record::new(id, device, Kind::Data, payload, now)
}

impl Reader {
    /// Takes the session over, if the slot is ours.
    async fn connect(&mut self) -> Result<u64, SourceError> {
        let (store, world) = (&self.cx.store, self.world.clone());
        let record = SlotRecord { slot_session: SESSION, filters: vec!["#".to_owned()], subscribed: true };
        match store.save_slot(&self.cx.topology, &self.cx.stage, 0, self.cx.epoch, &record).await {
            Ok(()) => {}
            Err(StoreError::Unavailable(why)) => return Err(SourceError::Unavailable(why)),
            Err(lost) => return Err(SourceError::Broken(lost.to_string())),
        }
        world.trouble.step().await;
        let connection = world.broker.connect();
        world.trouble.note(|| format!("ingress of {} has connection {connection}", self.cx.epoch));
        lock(&self.link).connection = Some(connection);
        Ok(connection)
    }

    fn read(&mut self, connection: u64, max: usize) -> Option<SourceBatch> {
        let mut records = Vec::new();
        let mut numbers = Vec::new();
        let now = self.cx.clock.now();
        while records.len() < max {
            let Some(message) = self.world.broker.next(self.behind) else { break };
            self.behind = Some(message.number);
            let record = record_of(&message, now);
            if self.world.log.recall("data", &record) || self.world.log.recall(DEAD, &record) {
                self.world.broker.acknowledge(connection, message.number);
                continue;
            }
            numbers.push(message.number);
            records.push(record);
        }
        if self.mark_is_due() {
            self.next_mark = Instant::now() + MARK_EVERY;
            records.push(self.mark(now));
        }
        if records.is_empty() {
            return None;
        }
        self.tag += 1;
        lock(&self.link).open.insert(self.tag, numbers);
        let (rejected, previous) = (Vec::new(), Previous::new());
        Some(SourceBatch { partition: 0, records, rejected, previous, tag: self.tag })
    }

    fn mark_is_due(&self) -> bool {
        Instant::now() >= self.next_mark && !self.world.broker.is_quiet()
    }

    fn mark(&mut self, now: Timestamp) -> Record {
        let (since, time) = (self.since.0, now.0);
        self.since = now;
        let body = format!(r#"{{"v":1,"slot":0,"slot_session":"{SESSION}","since":{since},"time":{time}}}"#);
        let id = EventId(Ulid::from_parts(time, u128::MAX >> 48));
        Record::new(id, "slot".parse().expect("a fit name"), Kind::Mark, body.into(), now)
    }
}

impl SourceReader for Reader {
    async fn next(&mut self, max_records: usize) -> Result<SourceEvent, SourceError> {
        loop {
            let world = self.world.clone();
            let changed = world.broker.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            let connected = lock(&self.link).connection;
            let connection = match connected {
                Some(connection) => connection,
                None => self.connect().await?,
            };
            world.trouble.step().await;
            if !world.broker.is_connected(connection) {
                // It may take a while to notice: what is acknowledged meanwhile is not heard.
                sleep(Duration::from_millis(world.trouble.between(0, 3000))).await;
                return Err(SourceError::Unavailable("another connection took the session over".to_owned()));
            }
            let most = self.world.trouble.between(1, 8) as usize;
            if self.world.broker.next(self.behind).is_some() || self.mark_is_due() {
                self.world.trouble.maybe_panic("producer");
                if self.world.trouble.fails("producer") {
                    return Err(SourceError::Unavailable("injected: the broker is away".to_owned()));
                }
            }
            if let Some(batch) = self.read(connection, max_records.min(most)) {
                return Ok(SourceEvent::Batch(batch));
            }
            if !world.broker.is_quiet() {
                tokio::select! {
                    biased;
                    () = changed => {}
                    () = sleep_until(self.next_mark) => {}
                }
            } else {
                changed.await;
            }
        }
    }
}

/// The acknowledging half.
pub struct Confirmer {
    world: Arc<World>,
    link: SharedLink,
}

impl Acker for Confirmer {
    async fn acknowledge(&mut self, batches: Vec<(Partition, u64)>) -> Result<(), SourceError> {
        let world = &self.world;
        tokio::time::sleep(world.trouble.delay()).await;
        if world.trouble.fails("confirmer") {
            return Err(SourceError::Unavailable("injected: the broker is away".to_owned()));
        }
        world.trouble.maybe_panic("confirmer");
        for (_, tag) in batches {
            let (connection, numbers) = {
                let mut link = lock(&self.link);
                (link.connection.unwrap_or_default(), link.open.remove(&tag))
            };
            for number in numbers.into_iter().flatten() {
                world.trouble.step().await;
                if world.trouble.loses_answer("confirmer") {
                    return Err(SourceError::Unavailable("injected: an acknowledgement is lost".to_owned()));
                }
                checker::acknowledged(world, number);
                let is_heard = world.broker.acknowledge(connection, number);
                world.trouble.note(|| format!("{number} acknowledged to the broker; heard: {is_heard}"));
            }
        }
        Ok(())
    }

    async fn give_back(&mut self, _: Partition, _: u64) -> Result<(), SourceError> {
        Err(SourceError::Unavailable("connecting again for what was let go of".to_owned()))
    }

    async fn close(&mut self) -> Result<(), SourceError> {
        Ok(())
    }
}
