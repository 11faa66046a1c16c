//! What a stage counts, and the ledger that shows nothing went missing.
//!
//! Per stage and process life (G7):
//!
//! ```text
//! received = forwarded + absorbed + dead_lettered{reason} + dropped{reason} + returned{reason} + in_flight
//! ```
//!
//! What a stage makes anew is counted apart (`produced{outlet}`), as are retries. The same numbers go to Prometheus
//! under `telemill_` with the labels `topology`, `stage` and `kind`; never a device id. A stage keeps its own copy so
//! that the status page and the tests read exact figures without a scrape.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Label};
use serde::Serialize;

use crate::record::Reason;

/// The ledger of a stage at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ledger {
    /// Records taken in.
    pub received: u64,
    /// Records handed on, or, by a sink, written.
    pub forwarded: u64,
    /// Records that were used up: nothing left the stage for them.
    pub absorbed: u64,
    /// Records given to the dead letters, by reason.
    pub dead_lettered: BTreeMap<&'static str, u64>,
    /// Records dropped as the topology says, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Records given back unresolved, by reason.
    pub returned: BTreeMap<&'static str, u64>,
    /// Records in hand.
    pub in_flight: i64,
    /// Records made anew, by outlet.
    pub produced: BTreeMap<String, u64>,
    /// Tries beyond the first, by reason.
    pub retries: BTreeMap<&'static str, u64>,
    /// Restarts of the stage's actor, by reason.
    pub restarts: BTreeMap<&'static str, u64>,
    /// Devices forgotten, by reason.
    pub forgotten: BTreeMap<&'static str, u64>,
}

impl Ledger {
    /// Whether everything received is accounted for.
    pub fn balances(&self) -> bool {
        let sum = |map: &BTreeMap<_, u64>| map.values().sum::<u64>();
        let accounted =
            self.forwarded + self.absorbed + sum(&self.dead_lettered) + sum(&self.dropped) + sum(&self.returned);
        self.received as i64 == accounted as i64 + self.in_flight
    }
}

/// A counter in the ledger and in Prometheus.
struct Count {
    own: AtomicU64,
    exported: Counter,
}

impl Count {
    fn add(&self, n: u64) {
        self.own.fetch_add(n, Ordering::Relaxed);
        self.exported.increment(n);
    }
}

/// A family of counters that differ in one label.
struct Family {
    name: &'static str,
    label: &'static str,
    counts: Mutex<BTreeMap<&'static str, Arc<Count>>>,
}

/// The counters of one stage.
pub struct StageMetrics {
    labels: Vec<Label>,
    received: Count,
    forwarded: Count,
    absorbed: Count,
    in_flight: AtomicI64,
    in_flight_gauge: Gauge,
    dead_lettered: Family,
    dropped: Family,
    returned: Family,
    retries: Family,
    restarts: Family,
    forgotten: Family,
    produced: Mutex<BTreeMap<String, Arc<Count>>>,
    mailbox_records: Gauge,
    mailbox_capacity: Gauge,
    batch_records: Histogram,
    duration: Histogram,
    end_to_end: Histogram,
    busy: Gauge,
    idle: Gauge,
    backpressured: Gauge,
    waited_to_send: Gauge,
}

impl std::fmt::Debug for StageMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.ledger().fmt(f)
    }
}

/// What a stage's actor is doing, for `telemill_stage_time_seconds_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageTime {
    /// Working, or waiting for the outside to take its work.
    Busy,
    /// Waiting for something to do.
    Idle,
    /// Waiting for room downstream.
    Backpressured,
}

impl StageMetrics {
    /// The counters of a stage.
    pub fn new(topology: &str, stage: &str, kind: &str) -> Arc<Self> {
        let labels = vec![
            Label::new("topology", topology.to_owned()),
            Label::new("stage", stage.to_owned()),
            Label::new("kind", kind.to_owned()),
        ];
        let counter = |name| Count { own: AtomicU64::new(0), exported: metrics::counter!(name, labels.clone()) };
        // Sums of seconds are gauges to the facade, whose counters are whole numbers; the exporter's page gives them
        // the type that their name promises.
        let time = |state: &'static str| {
            let mut labels = labels.clone();
            labels.push(Label::from_static_parts("state", state));
            metrics::gauge!("telemill_stage_time_seconds_total", labels)
        };
        let family = |name, label| Family { name, label, counts: Mutex::default() };
        Arc::new(StageMetrics {
            received: counter("telemill_records_received_total"),
            forwarded: counter("telemill_records_forwarded_total"),
            absorbed: counter("telemill_records_absorbed_total"),
            in_flight: AtomicI64::new(0),
            in_flight_gauge: metrics::gauge!("telemill_records_in_flight", labels.clone()),
            dead_lettered: family("telemill_records_dead_lettered_total", "reason"),
            dropped: family("telemill_records_dropped_total", "reason"),
            returned: family("telemill_records_returned_total", "reason"),
            retries: family("telemill_retries_total", "reason"),
            restarts: family("telemill_restarts_total", "reason"),
            forgotten: family("telemill_devices_forgotten_total", "reason"),
            produced: Mutex::default(),
            mailbox_records: metrics::gauge!("telemill_mailbox_records", labels.clone()),
            mailbox_capacity: metrics::gauge!("telemill_mailbox_capacity_records", labels.clone()),
            batch_records: metrics::histogram!("telemill_batch_records", labels.clone()),
            duration: metrics::histogram!("telemill_stage_duration_seconds", labels.clone()),
            end_to_end: metrics::histogram!("telemill_end_to_end_seconds", labels.clone()),
            busy: time("busy"),
            idle: time("idle"),
            backpressured: time("backpressured"),
            waited_to_send: metrics::gauge!("telemill_mailbox_wait_seconds_total", labels.clone()),
            labels,
        })
    }

    /// Counters for a stage outside of any topology, as benchmarks and unit tests need them.
    pub fn detached(stage: &str) -> Arc<Self> {
        StageMetrics::new("", stage, "")
    }

    /// Records taken in; they are in flight until they are accounted for.
    pub fn received(&self, records: usize) {
        self.received.add(records as u64);
        self.moved_in_flight(records as i64);
    }

    /// Records handed on or written.
    pub fn forwarded(&self, records: usize) {
        self.forwarded.add(records as u64);
        self.moved_in_flight(-(records as i64));
    }

    /// Records used up.
    pub fn absorbed(&self, records: usize) {
        self.absorbed.add(records as u64);
        self.moved_in_flight(-(records as i64));
    }

    /// A record given to the dead letters.
    pub fn dead_lettered(&self, reason: Reason) {
        self.count(&self.dead_lettered, reason.0, 1);
        self.moved_in_flight(-1);
    }

    /// Records dropped as the topology says.
    pub fn dropped(&self, reason: Reason, records: usize) {
        self.count(&self.dropped, reason.0, records as u64);
        self.moved_in_flight(-(records as i64));
    }

    /// Records given back unresolved.
    pub fn returned(&self, reason: Reason, records: usize) {
        self.count(&self.returned, reason.0, records as u64);
        self.moved_in_flight(-(records as i64));
    }

    /// Records made anew.
    pub fn produced(&self, outlet: &str, records: usize) {
        let mut produced = self.produced.lock().unwrap_or_else(PoisonError::into_inner);
        if !produced.contains_key(outlet) {
            let mut labels = self.labels.clone();
            labels.push(Label::new("outlet", outlet.to_owned()));
            let exported = metrics::counter!("telemill_records_produced_total", labels);
            produced.insert(outlet.to_owned(), Arc::new(Count { own: AtomicU64::new(0), exported }));
        }
        produced[outlet].add(records as u64);
    }

    /// A try beyond the first.
    pub fn retried(&self, reason: Reason) {
        self.count(&self.retries, reason.0, 1);
    }

    /// A restart of the stage's actor.
    pub fn restarted(&self, reason: &'static str) {
        self.count(&self.restarts, reason, 1);
    }

    /// A device was forgotten.
    pub fn forgot(&self, reason: Reason) {
        self.count(&self.forgotten, reason.0, 1);
    }

    /// The size of a batch taken in hand.
    pub fn batch(&self, records: usize) {
        self.batch_records.record(records as f64);
    }

    /// How long a batch took, from taking it in hand to being done with it.
    pub fn duration(&self, took: Duration) {
        self.duration.record(took.as_secs_f64());
    }

    /// How old a record was, since the ingress received it, when a sink had written it.
    pub fn end_to_end(&self, age: Duration) {
        self.end_to_end.record(age.as_secs_f64());
    }

    /// Time spent.
    pub fn spent(&self, state: StageTime, time: Duration) {
        let sum = match state {
            StageTime::Busy => &self.busy,
            StageTime::Idle => &self.idle,
            StageTime::Backpressured => &self.backpressured,
        };
        sum.increment(time.as_secs_f64());
    }

    /// Records in the mailbox in front of the stage.
    pub fn mailbox_records(&self, records: usize) {
        self.mailbox_records.set(records as f64);
    }

    /// How many fit.
    pub fn mailbox_capacity(&self, records: usize) {
        self.mailbox_capacity.set(records as f64);
    }

    /// Somebody waited this long for room in the stage's mailbox.
    pub fn sender_waited(&self, time: Duration) {
        self.waited_to_send.increment(time.as_secs_f64());
    }

    /// The ledger now. Balances whenever the stage is not in the middle of a batch.
    pub fn ledger(&self) -> Ledger {
        let own = |count: &Count| count.own.load(Ordering::Relaxed);
        let family = |family: &Family| {
            let counts = family.counts.lock().unwrap_or_else(PoisonError::into_inner);
            counts.iter().map(|(reason, count)| (*reason, own(count))).collect()
        };
        let produced = self.produced.lock().unwrap_or_else(PoisonError::into_inner);
        Ledger {
            received: own(&self.received),
            forwarded: own(&self.forwarded),
            absorbed: own(&self.absorbed),
            dead_lettered: family(&self.dead_lettered),
            dropped: family(&self.dropped),
            returned: family(&self.returned),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            produced: produced.iter().map(|(outlet, count)| (outlet.clone(), own(count))).collect(),
            retries: family(&self.retries),
            restarts: family(&self.restarts),
            forgotten: family(&self.forgotten),
        }
    }

    fn moved_in_flight(&self, by: i64) {
        let now = self.in_flight.fetch_add(by, Ordering::Relaxed) + by;
        self.in_flight_gauge.set(now as f64);
    }

    fn count(&self, family: &Family, value: &'static str, n: u64) {
        let mut counts = family.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(value).or_insert_with(|| {
            let mut labels = self.labels.clone();
            labels.push(Label::from_static_parts(family.label, value));
            Arc::new(Count { own: AtomicU64::new(0), exported: metrics::counter!(family.name, labels) })
        });
        count.add(n);
    }
}
