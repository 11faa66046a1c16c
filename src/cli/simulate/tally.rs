//! What was sent, what the broker acknowledged, and how long that took.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

/// Counted by everyone who takes part.
#[derive(Debug, Default)]
pub(super) struct Tally {
    records: AtomicU64,
    malformed: AtomicU64,
    duplicates: AtomicU64,
    hellos: AtomicU64,
    acknowledged: AtomicU64,
    resent: AtomicU64,
    latencies: Mutex<Latencies>,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Record { malformed: bool },
    Duplicate,
    Hello,
}

impl Tally {
    /// A message was handed over to be published.
    pub(super) fn publish(&self, kind: Kind) {
        match kind {
            Kind::Record { malformed } => {
                add(&self.records, 1);
                add(&self.malformed, malformed.into());
            }
            Kind::Duplicate => add(&self.duplicates, 1),
            Kind::Hello => add(&self.hellos, 1),
        }
    }

    /// Messages went out once more, on a new connection.
    pub(super) fn resend(&self, messages: u64) {
        add(&self.resent, messages);
    }

    /// A message was acknowledged this long after it was first sent.
    pub(super) fn acknowledge(&self, after: Duration) {
        add(&self.acknowledged, 1);
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner).record(after);
    }

    /// The figures now, `elapsed` after the start.
    pub(super) fn summary(&self, elapsed: Duration) -> Summary {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (records, duplicates, hellos) = (get(&self.records), get(&self.duplicates), get(&self.hellos));
        let acknowledged = get(&self.acknowledged);
        let latencies = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        let millis = |quantile| latencies.quantile(quantile).as_micros() as f64 / 1000.0;
        let seconds = elapsed.as_secs_f64();
        Summary {
            published: records + duplicates + hellos,
            acknowledged,
            records,
            malformed: get(&self.malformed),
            duplicates,
            hellos,
            resent: get(&self.resent),
            seconds: (seconds * 1000.0).round() / 1000.0,
            rate: if seconds > 0.0 { (acknowledged as f64 / seconds * 10.0).round() / 10.0 } else { 0.0 },
            puback_p50_ms: millis(0.5),
            puback_p99_ms: millis(0.99),
        }
    }
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

/// A run in figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Summary {
    /// Messages of all kinds, each once.
    pub(super) published: u64,
    /// Those that the broker acknowledged.
    pub(super) acknowledged: u64,
    /// Records, malformed ones included.
    pub(super) records: u64,
    pub(super) malformed: u64,
    /// Records sent a second time.
    pub(super) duplicates: u64,
    pub(super) hellos: u64,
    /// Messages sent again because the connection was lost before their acknowledgement.
    pub(super) resent: u64,
    pub(super) seconds: f64,
    /// Acknowledged messages a second.
    pub(super) rate: f64,
    /// From publish to PUBACK.
    pub(super) puback_p50_ms: f64,
    pub(super) puback_p99_ms: f64,
}

/// A histogram of durations with a resolution of 1/16: 16 buckets for every doubling, from 1 µs on.
#[derive(Debug, Default)]
struct Latencies {
    buckets: Vec<u64>,
    total: u64,
}

const PER_DOUBLING: u64 = 16;

impl Latencies {
    fn record(&mut self, latency: Duration) {
        let bucket = bucket_of(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] += 1;
        self.total += 1;
    }

    /// The time within which this share of all came: the upper end of its bucket.
    fn quantile(&self, share: f64) -> Duration {
        let wanted = (self.total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if *count > 0 && seen >= wanted {
                return Duration::from_micros(upper_end(bucket));
            }
        }
        Duration::ZERO
    }
}

/// Values below 16 have a bucket each; above, the four bits behind the leading one choose it.
fn bucket_of(micros: u64) -> usize {
    if micros < PER_DOUBLING {
        return micros as usize;
    }
    let shift = micros.ilog2() - PER_DOUBLING.ilog2();
    (u64::from(shift) * PER_DOUBLING + (micros >> shift)) as usize
}

fn upper_end(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < PER_DOUBLING {
        return bucket;
    }
    let shift = bucket / PER_DOUBLING - 1;
    let mantissa = bucket % PER_DOUBLING + PER_DOUBLING;
    (((u128::from(mantissa) + 1) << shift) - 1).try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket_and_buckets_are_narrow() {
        for micros in (0..5000).chain([u64::MAX, u64::MAX / 3, 1 << 40]) {
            let bucket = bucket_of(micros);
            assert!(upper_end(bucket) >= micros, "{micros}");
            assert!(bucket == 0 || upper_end(bucket - 1) < micros, "{micros}");
            assert!(upper_end(bucket) - micros <= micros / 16, "{micros}");
        }
    }

    #[test]
    fn quantiles_are_upper_bounds() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantile(0.99), Duration::ZERO);
        (1..=100).for_each(|ms| latencies.record(Duration::from_millis(ms)));
        let check = |share, ms: u64| {
            let found = latencies.quantile(share);
            let (low, high) = (Duration::from_millis(ms), Duration::from_millis(ms).mul_f64(1.07));
            assert!((low..high).contains(&found), "{share}: {found:?}");
        };
        check(0.5, 50);
        check(0.99, 99);
        check(1.0, 100);
    }

    #[test]
    fn a_summary_adds_up() {
        let tally = Tally::default();
        let kinds = [Kind::Record { malformed: false }, Kind::Record { malformed: true }, Kind::Duplicate, Kind::Hello];
        kinds.into_iter().for_each(|kind| tally.publish(kind));
        tally.resend(2);
        (0..3).for_each(|_| tally.acknowledge(Duration::from_micros(8)));
        let expect = Summary {
            published: 4,
            acknowledged: 3,
            records: 2,
            malformed: 1,
            duplicates: 1,
            hellos: 1,
            resent: 2,
            seconds: 2.0,
            rate: 1.5,
            puback_p50_ms: 0.008,
            puback_p99_ms: 0.008,
        };
        assert_eq!(tally.summary(Duration::from_secs(2)), expect);
    }
}
