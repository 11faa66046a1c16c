//! One round: devices publish, something goes wrong, it is whole again, everything comes to its end, and is judged.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

use crate::check::{Evidence, Findings, judge};
use crate::faults::{Fault, Scene};
use crate::limits::DRAINED_WITHIN;
use crate::load::{Load, Message, Sent, Volley, prefix};
use crate::memory::Memory;
use crate::rig::{PARTITIONS, Rig};
use crate::support::{LogRecord, Publisher, Reader, Store, Updates, let_pass, partition_of};
use crate::watch::{Sights, Watch};

/// What a fault adds to its round.
pub struct Extra {
    prefix: String,
    /// Messages of its own.
    pub sent: Sent,
    /// The uuids of those that no attempt can write.
    pub spoilt: HashSet<String>,
    /// Whoever listens for notifications hears all of them.
    pub updates_are_whole: bool,
    /// The broker may lose what it has not delivered.
    pub broker_may_lose: bool,
    /// The store is an older one: what was written in between comes again.
    pub rolled_back: Arc<AtomicBool>,
    /// The wall clock is set back.
    pub clock_goes_back: bool,
    /// What was wrong with the fault itself.
    pub wrong: Vec<String>,
}

impl Extra {
    /// A device of the round.
    pub fn device(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

/// How a round went.
pub struct Outcome {
    /// What was done.
    pub what: String,
    pub messages: usize,
    pub redelivered: usize,
    /// Where the broker was killed: published, taken by it, and never delivered.
    pub lost_by_broker: Option<usize>,
    /// From the end of fault and load until everything was where it belongs.
    pub recovery: Duration,
    pub resident: u64,
    pub findings: Findings,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { what, messages, redelivered, recovery, resident, findings, .. } = self;
        let verdict = if findings.is_clean() { "ok" } else { "BROKEN" };
        write!(
            f,
            "{verdict:6} {messages:6} messages, {redelivered:5} redelivered, drained in {:5.1} s, {:3} MiB: {what}",
            recovery.as_secs_f64(),
            resident >> 20
        )?;
        if findings.is_clean() { Ok(()) } else { write!(f, "\n  {}", findings.text()) }
    }
}

/// The rounds on one rig.
pub struct Rounds {
    pub rig: Rig,
    /// How long everything may take to come to its end once the pipeline is whole.
    pub patience: Duration,
    count: usize,
    /// How far each topic has been judged.
    read: BTreeMap<String, BTreeMap<i32, i64>>,
}

impl Rounds {
    /// On a rig whose engine is ready. Nothing goes wrong in the first round: behind it there are positions that what is
    /// committed can be held against.
    pub fn new(rig: Rig, volley: Volley) -> Rounds {
        let mut rounds = Rounds { rig, patience: DRAINED_WITHIN, count: 0, read: BTreeMap::new() };
        let outcome = rounds.round_of(volley, &mut StdRng::seed_from_u64(0), |_| "no fault".to_owned());
        assert!(outcome.findings.is_clean(), "without a fault: {outcome}");
        rounds
    }

    /// One round with a fault.
    pub fn round(&mut self, fault: Fault, volley: Volley, random: &mut StdRng) -> Outcome {
        self.round_of(volley, random, |scene| format!("{fault:?}: {}", scene.inflict(fault)))
    }

    /// One round in which this is done, and undone; it says what.
    pub fn round_of(
        &mut self,
        volley: Volley,
        random: &mut StdRng,
        deed: impl FnOnce(&mut Scene<'_>) -> String,
    ) -> Outcome {
        self.count += 1;
        let topic = self.rig.data_topic_id();
        let is_blind = topic.is_none() && self.count > 1;
        let updates = Updates::subscribe(&self.rig.redis.url(), &prefix(&self.rig.site, self.count));
        let rolled_back = Arc::<AtomicBool>::default();
        let watch = Watch::start(&self.rig, self.count, volley.devices, topic, rolled_back.clone());
        let memory = Memory::of(&self.rig.engine.pid);
        let load = Load::start(&self.rig.site, &self.rig.mosquitto.url(), self.count, volley);
        let mut extra = Extra {
            prefix: prefix(&self.rig.site, self.count),
            sent: Sent::default(),
            spoilt: HashSet::new(),
            updates_are_whole: true,
            broker_may_lose: false,
            rolled_back: rolled_back.clone(),
            clock_goes_back: false,
            wrong: Vec::new(),
        };
        let_pass(Duration::from_millis(random.random_range(100..800)));
        let what = deed(&mut Scene { rig: &mut self.rig, load: &load, random, extra: &mut extra });
        let mut sent = load.end();
        if rolled_back.load(Ordering::Acquire) {
            // A store notices that it was rolled back when it is given what comes next: in every partition.
            self.follow_up(&mut extra);
        }
        sent.fit.append(&mut extra.sent.fit);
        sent.unfit.append(&mut extra.sent.unfit);
        let whole = Instant::now();
        let mut findings = Findings { other: std::mem::take(&mut extra.wrong), ..Findings::default() };
        if is_blind {
            findings.other.push("the writer has no position: what was committed was held against nothing".to_owned());
        }
        if let Some(ended) = self.rig.engine.status() {
            findings.other.push(format!("the engine ended by itself: {ended}"));
            self.rig.start(&[]);
        }
        self.rig.engine.until_ready();
        let drained = self.drains(&sent, extra.broker_may_lose);
        let recovery = whole.elapsed();
        if !drained {
            findings.other.push(format!("not drained within {:?}: {}", self.patience, self.rig.engine.topology()));
        }
        findings.other.extend(self.rig.engine.not_understood());
        let Sights { committed_early, went_back } = watch.end();
        findings.other.extend(committed_early.into_iter().map(|what| format!("committed early: {what}")));
        findings.reordered.extend(went_back.into_iter().map(|what| format!("state went back: {what}")));
        let resident = memory.end(&mut findings);
        let (acknowledged, delivered, redelivered) = self.rig.deliveries.take();
        let all = sent.fit.values().flatten().map(|message| &message.uuid).chain(&sent.unfit);
        let undelivered = all.filter(|uuid| !delivered.contains(*uuid)).count();
        let lost_by_broker = extra.broker_may_lose.then_some(undelivered);
        let messages = sent.count() + sent.unfit.len();
        let evidence = Evidence {
            sent,
            spoilt: extra.spoilt,
            acknowledged,
            data: self.news("data"),
            dead: self.news("data-dlq"),
            alerts: self.news("alerts"),
            updates: updates.so_far(),
            updates_are_whole: extra.updates_are_whole,
            broker_may_lose: extra.broker_may_lose,
            clock_went_back: extra.clock_goes_back,
        };
        judge(&evidence, &mut Store::new(&self.rig.redis.url()), &mut findings);
        Outcome { what, messages, redelivered, lost_by_broker, recovery, resident, findings }
    }

    /// Waits until everything that was sent is in the log or dead, and both sources have committed it; false when it
    /// takes too long. What the broker has lost is not waited for: nothing moves any more then.
    fn drains(&self, sent: &Sent, broker_may_lose: bool) -> bool {
        const NOTHING_MOVES: Duration = Duration::from_secs(3);
        let reader = Reader::new(&self.rig.kafka.brokers());
        let site = &self.rig.site;
        let (data, dead) = (site.topic("data"), site.topic("data-dlq"));
        let before = |topic: &str| self.read.get(topic).map_or(0, |offsets| offsets.values().sum::<i64>());
        let wanted = (before(&data) + sent.count() as i64, before(&dead) + sent.unfit.len() as i64);
        let end = Instant::now() + self.patience;
        let mut last = ((0, 0), Instant::now());
        while Instant::now() < end {
            let there = (reader.count(&data), reader.count(&dead));
            if there != last.0 {
                last = (there, Instant::now());
            }
            let is_all = there.0 >= wanted.0 && there.1 >= wanted.1;
            let is_rest = broker_may_lose && last.1.elapsed() > NOTHING_MOVES;
            let is_committed = |group: &str| reader.lag(group, &data) == 0;
            let writer = format!("{}-writer", site.prefix());
            if (is_all || is_rest) && is_committed(site.prefix()) && is_committed(&writer) {
                return true;
            }
            let_pass(Duration::from_millis(50));
        }
        false
    }

    /// Waits until nothing of earlier rounds is on its way any more.
    pub fn settle(&mut self) {
        self.drains(&Sent::default(), true);
        for topic in ["data", "data-dlq", "alerts"] {
            self.news(topic);
        }
        self.rig.deliveries.take();
    }

    /// One message in every partition, behind everything else.
    fn follow_up(&self, extra: &mut Extra) {
        let mut publisher = Publisher::connect(&self.rig.mosquitto.url());
        let mut left: BTreeSet<i32> = (0..PARTITIONS).collect();
        for number in 0.. {
            if left.is_empty() {
                break;
            }
            let device = extra.device(&format!("after{number}"));
            if left.remove(&partition_of(&device, PARTITIONS)) {
                let uuid = Uuid::new_v4().to_string();
                let payload = format!(r#"{{"seq":1,"uuid":"{uuid}","temperature":1}}"#);
                publisher.send(&self.rig.site.mqtt_topic(&device, "data"), payload);
                extra.sent.fit.insert(device, vec![Message { seq: 1, uuid, is_hot: false }]);
            }
        }
        publisher.settled();
    }

    /// What is new in a topic.
    fn news(&mut self, topic: &str) -> Vec<LogRecord> {
        let topic = self.rig.site.topic(topic);
        let from = self.read.entry(topic.clone()).or_default();
        Reader::new(&self.rig.kafka.brokers()).since(&topic, from)
    }
}
