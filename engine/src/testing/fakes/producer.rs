//! A source like an ingress: no positions, redelivery of what is not acknowledged, a mark every second.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until};
use ulid::Ulid;

use crate::batch::Previous;
use crate::clock::{Clock, Timestamp};
use crate::position::Partition;
use crate::record::{EventId, Kind, Record};
use crate::source::{Acker, Source, SourceBatch, SourceError, SourceEvent, SourceReader};
use crate::testing::world::{Message, World};

const MARK_EVERY: Duration = Duration::from_secs(1);

/// Reads the world's broker.
pub struct SimProducer {
    world: Arc<World>,
    clock: Clock,
}

impl SimProducer {
    /// An ingress that has just connected.
    pub fn new(world: &Arc<World>, clock: &Clock) -> Self {
        SimProducer { world: world.clone(), clock: clock.clone() }
    }
}

type Open = Arc<Mutex<BTreeMap<u64, Vec<u64>>>>;

impl Source for SimProducer {
    type Reader = Reader;
    type Acker = Confirmer;

    fn split(self) -> (Reader, Confirmer) {
        let open = Open::default();
        let now = self.clock.now();
        let confirmer = Confirmer { world: self.world.clone(), open: open.clone() };
        let next_mark = Instant::now() + MARK_EVERY;
        let SimProducer { world, clock } = self;
        (Reader { world, clock, open, behind: None, tag: 0, since: now, next_mark }, confirmer)
    }
}

/// The reading half.
pub struct Reader {
    world: Arc<World>,
    clock: Clock,
    open: Open,
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
    fn read(&mut self, max: usize) -> Option<SourceBatch> {
        let mut records = Vec::new();
        let mut numbers = Vec::new();
        let now = self.clock.now();
        while records.len() < max {
            let Some(message) = self.world.broker.next(self.behind) else { break };
            self.behind = Some(message.number);
            let record = record_of(&message, now);
            if self.world.log.recall("data", &record) || self.world.log.recall("dead", &record) {
                self.world.broker.acknowledge(message.number);
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
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(self.tag, numbers);
        let (rejected, previous) = (Vec::new(), Previous::new());
        Some(SourceBatch { partition: 0, records, rejected, previous, tag: self.tag })
    }

    fn mark_is_due(&self) -> bool {
        Instant::now() >= self.next_mark && !self.world.broker.is_quiet()
    }

    fn mark(&mut self, now: Timestamp) -> Record {
        let session = Ulid::from_parts(0, 7);
        let (since, time) = (self.since.0, now.0);
        self.since = now;
        let body = format!(r#"{{"v":1,"slot":0,"slot_session":"{session}","since":{since},"time":{time}}}"#);
        let id = EventId(Ulid::from_parts(time, u128::MAX >> 48));
        Record::new(id, "slot".parse().expect("a fit name"), Kind::Mark, body.into(), now)
    }
}

impl SourceReader for Reader {
    async fn next(&mut self, max_records: usize) -> Result<SourceEvent, SourceError> {
        loop {
            let world = self.world.clone();
            let published = world.broker.published.notified();
            let mut published = std::pin::pin!(published);
            published.as_mut().enable();
            let most = self.world.trouble.between(1, 8) as usize;
            if self.world.broker.next(self.behind).is_some() || self.mark_is_due() {
                self.world.trouble.maybe_panic("producer");
                if self.world.trouble.fails("producer") {
                    return Err(SourceError::Unavailable("injected: the broker is away".to_owned()));
                }
            }
            if let Some(batch) = self.read(max_records.min(most)) {
                return Ok(SourceEvent::Batch(batch));
            }
            if !world.broker.is_quiet() {
                tokio::select! {
                    biased;
                    () = published => {}
                    () = sleep_until(self.next_mark) => {}
                }
            } else {
                published.await;
            }
        }
    }
}

/// The acknowledging half.
pub struct Confirmer {
    world: Arc<World>,
    open: Open,
}

impl Acker for Confirmer {
    async fn acknowledge(&mut self, batches: Vec<(Partition, u64)>) -> Result<(), SourceError> {
        if self.world.trouble.fails("confirmer") {
            return Err(SourceError::Unavailable("injected: the broker is away".to_owned()));
        }
        self.world.trouble.maybe_panic("confirmer");
        for (_, tag) in batches {
            let numbers = self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&tag);
            for number in numbers.into_iter().flatten() {
                self.world.trouble.note(|| format!("{number} acknowledged to the broker"));
                self.world.broker.acknowledge(number);
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
