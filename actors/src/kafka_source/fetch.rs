//! Reading: the client that fetches, on a thread of its own.
//!
//! Every topic of every partition has a queue of its own in the client library, so that one that has to wait (for the
//! other topics of its partition, or for room downstream) holds up no other: it is left where it is, its queue fills to
//! its bound, and the library fetches no more for it. Nothing is paused, and nothing that was fetched is thrown away.
//!
//! The library says which queue has been filled and wakes the thread; a wake-up that it loses costs a few milliseconds,
//! because the thread looks by itself as well.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Message, Offset, TopicPartitionList};
use telemill_engine::position::Partition;
use telemill_engine::source::SourceError;

use super::contexts::{Complaints, FetchContext};
use super::setup::Setup;
use super::shared::{Plan, Progress, Shared};
use crate::kafka::watermark::heard_end;
use crate::kafka::wire::record_from_message;
use crate::log::ledger::Generation;
use crate::log::merge::Merge;
use crate::log::outbox::Item;
use crate::log::reading::Body;

/// The client that fetches.
pub(super) type Fetcher = BaseConsumer<FetchContext>;

/// Messages taken from one queue in one go.
const BURST: usize = 64;
/// How long the thread sleeps at most, and how often it looks into every queue.
const NAP: Duration = Duration::from_millis(20);
/// How long it waits for the rest, when it was woken by the first that came.
const GATHER: Duration = Duration::from_millis(1);

/// Lets an answer of the broker come in whole.
#[expect(clippy::disallowed_methods, reason = "this thread is the source's own; no actor waits for it")]
fn gather() {
    thread::sleep(GATHER);
}
const TELL_PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Connects the client. It fetches nothing before [`run`] is told what.
pub(super) fn fetcher(setup: &Setup, complaints: &Arc<Complaints>) -> KafkaResult<Arc<Fetcher>> {
    let context = FetchContext(complaints.clone());
    Fetcher::from_config_and_context(&setup.fetch_client(), context).map(Arc::new)
}

/// Reads what is planned until the source is stopped.
pub(super) fn run(client: &Arc<Fetcher>, shared: &Shared) {
    let now = Instant::now();
    let mut fetching = Fetching { client, shared, reading: BTreeMap::new(), turn: Partition::MIN, look: now };
    let mut tell_progress = now;
    while !shared.is_stopped() {
        if let Err(why) = fetching.turn() {
            shared.fail(SourceError::Unavailable(why));
            thread::park_timeout(NAP);
        }
        let now = Instant::now();
        if now >= tell_progress {
            shared.progressed(fetching.progress());
            tell_progress = now + TELL_PROGRESS_EVERY;
        }
    }
}

struct Fetching<'a> {
    client: &'a Arc<Fetcher>,
    shared: &'a Shared,
    reading: BTreeMap<Partition, Reading>,
    /// The partition that had the first turn; with little room, the next one is to have it.
    turn: Partition,
    /// When to look into every queue.
    look: Instant,
}

/// A partition being read.
struct Reading {
    generation: Generation,
    lanes: Vec<Lane>,
    merge: Merge<Body>,
}

struct Lane {
    queue: PartitionQueue<FetchContext>,
    /// There may be something in the queue.
    is_filled: Arc<AtomicBool>,
    /// The end that was reached, and nothing was read since.
    end: Option<i64>,
}

impl Fetching<'_> {
    /// Reads what is there; sleeps when nothing is.
    fn turn(&mut self) -> Result<(), String> {
        self.serve_events()?;
        self.follow_plans()?;
        let (mut records, mut bytes) = self.shared.room();
        let mut moved = false;
        let now = Instant::now();
        let look = now >= self.look;
        if look {
            self.look = now + NAP;
        }
        let later = (Bound::Excluded(self.turn), Bound::Unbounded);
        let first = self.reading.range(later).next().or_else(|| self.reading.first_key_value());
        self.turn = first.map_or(Partition::MIN, |(partition, _)| *partition);
        let (before, from): (Vec<_>, Vec<_>) = self.reading.iter_mut().partition(|(at, _)| **at < self.turn);
        let mut ready = Vec::new();
        for (partition, reading) in from.into_iter().chain(before) {
            let (read, fault) = reading.read(self.client, *partition, &self.shared.setup, look);
            moved |= read;
            match fault {
                None => {}
                Some(Fault::OutOfRange) => self.shared.out_of_range(*partition, reading.generation),
                Some(Fault::Fatal(why)) => return Err(why),
            }
            let mut out = Vec::new();
            while records > 0 && bytes > 0 {
                let Some(next) = reading.merge.pop() else { break };
                records -= 1;
                bytes = bytes.saturating_sub(next.weight);
                out.push(Item { topic: next.lane, offset: next.offset, weight: next.weight, body: next.item });
            }
            if !out.is_empty() {
                ready.push((*partition, reading.generation, out));
            }
        }
        moved |= !ready.is_empty();
        self.shared.put(ready);
        if !moved {
            thread::park_timeout(NAP);
            if now.elapsed() < NAP {
                // The first message of an answer woke it. One look at the whole answer costs less than one at each part.
                gather();
            }
        }
        Ok(())
    }

    /// Errors, log lines, and whatever else is not of a partition.
    fn serve_events(&self) -> Result<(), String> {
        while let Some(event) = self.client.poll(Duration::ZERO) {
            match event {
                // Every partition's queue is taken out of the common one before it is filled.
                Ok(_) => return Err("a message came through the wrong queue".to_owned()),
                Err(KafkaError::MessageConsumptionFatal(code)) => return Err(format!("the client gave up: {code}")),
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Starts and stops reading as planned.
    fn follow_plans(&mut self) -> Result<(), String> {
        if self
            .shared
            .reads_as_planned(self.reading.iter().map(|(partition, reading)| (*partition, reading.generation)))
        {
            return Ok(());
        }
        let plans = self.shared.plans();
        let is_planned = |partition: &Partition, reading: &Reading| {
            plans.get(partition).is_some_and(|plan| plan.generation == reading.generation)
        };
        let stopped: Vec<_> = self
            .reading
            .iter()
            .filter(|(partition, reading)| !is_planned(partition, reading))
            .map(|(p, _)| *p)
            .collect();
        self.stop(&stopped).map_err(|error| format!("partitions could not be let go of: {error}"))?;
        let started: Vec<_> = plans.iter().filter(|(partition, _)| !self.reading.contains_key(partition)).collect();
        self.start(&started).map_err(|error| format!("partitions could not be read: {error}"))
    }

    fn stop(&mut self, partitions: &[Partition]) -> KafkaResult<()> {
        if partitions.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            for topic in &self.shared.setup.topics {
                list.add_partition(&topic.name, *partition);
            }
            self.reading.remove(partition);
        }
        self.client.incremental_unassign(&list)
    }

    fn start(&mut self, plans: &[(&Partition, &Plan)]) -> KafkaResult<()> {
        if plans.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::new();
        for (partition, plan) in plans {
            let mut lanes = Vec::with_capacity(plan.lanes.len());
            for (topic, (start, _)) in self.shared.setup.topics.iter().zip(&plan.lanes) {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "every queue is looked at again after a nap, woken or not"
                )]
                let queue = self.client.split_partition_queue(&topic.name, **partition);
                let mut queue =
                    queue.ok_or(KafkaError::Subscription(format!("no queue for topic `{}`", topic.name)))?;
                let (me, is_filled) = (thread::current(), Arc::new(AtomicBool::new(true)));
                let filled = is_filled.clone();
                queue.set_nonempty_callback(move || {
                    filled.store(true, Ordering::Release);
                    me.unpark();
                });
                lanes.push(Lane { queue, is_filled, end: None });
                list.add_partition_offset(&topic.name, **partition, Offset::Offset(*start))?;
            }
            let merge = Merge::new(plan.lanes.iter().copied());
            self.reading.insert(**partition, Reading { generation: plan.generation, lanes, merge });
        }
        self.client.incremental_assign(&list)
    }

    fn progress(&self) -> impl Iterator<Item = (Partition, Generation, Vec<Progress>)> {
        self.reading.iter().map(|(partition, reading)| {
            let lanes = reading.lanes.iter().enumerate();
            let progress = |(at, lane): (usize, &Lane)| Progress {
                read: reading.merge.read(at).max(lane.end.unwrap_or(0)),
                hungry: reading.merge.has_room(at),
            };
            (*partition, reading.generation, lanes.map(progress).collect())
        })
    }
}

/// What cannot be read on from.
enum Fault {
    OutOfRange,
    Fatal(String),
}

impl Reading {
    /// Takes what is there and can be merged, from the queues that were filled, or from all; whether there was
    /// anything, and what went wrong.
    fn read(&mut self, client: &Fetcher, partition: Partition, setup: &Setup, all: bool) -> (bool, Option<Fault>) {
        let mut moved = false;
        for (at, lane) in self.lanes.iter_mut().enumerate() {
            // Put out before looking, so that what is filled in meanwhile is seen.
            if !lane.is_filled.swap(false, Ordering::AcqRel) && !all {
                continue;
            }
            let mut left = BURST;
            loop {
                if left == 0 || !self.merge.has_room(at) {
                    lane.is_filled.store(true, Ordering::Release);
                    break;
                }
                let Some(next) = lane.queue.poll(Duration::ZERO) else { break };
                left -= 1;
                moved = true;
                match next {
                    Ok(message) => {
                        lane.end = None;
                        let taken = record_from_message(&message, setup.topics[at].id, &setup.stage);
                        self.merge.push(at, setup.to_merge(taken, at, message.offset()));
                    }
                    Err(KafkaError::PartitionEOF(_)) => {
                        // The error does not say which.
                        lane.end = heard_end(client.client(), &setup.topics[at].name, partition);
                        self.merge.reached_end(at);
                    }
                    Err(KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset)) => {
                        return (moved, Some(Fault::OutOfRange));
                    }
                    Err(KafkaError::MessageConsumptionFatal(code)) => {
                        return (moved, Some(Fault::Fatal(format!("the client gave up: {code}"))));
                    }
                    // The library tries again by itself, and has said so.
                    Err(_) => {}
                }
            }
        }
        (moved, None)
    }
}
