//! What a run is told, and what it tells.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::round::Outcome;

/// What a run is told by its environment (`tests/fault/run` sets it).
pub struct Orders {
    pub seed: u64,
    /// How long to go on; one of each class where nothing is said.
    pub lasts: Option<Duration>,
    pub messages: usize,
    /// Only faults of this class.
    pub only: Option<String>,
}

impl Orders {
    /// Whether faults of a class are to be done.
    pub fn wants(&self, class: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == class)
    }

    pub fn read() -> Orders {
        let number = |name: &str| {
            let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
            Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not `{text}`")))
        };
        Orders {
            seed: number("TELEMILL_FAULT_SEED").unwrap_or(1),
            lasts: number("TELEMILL_FAULT_SECONDS").map(Duration::from_secs),
            messages: number("TELEMILL_FAULT_MESSAGES").unwrap_or(2000) as usize,
            only: std::env::var("TELEMILL_FAULT_ONLY").ok().filter(|name| !name.is_empty()),
        }
    }
}

/// Sums over all rounds.
#[derive(Default)]
pub struct Sums {
    faults: BTreeMap<String, usize>,
    messages: usize,
    redelivered: usize,
    lost: usize,
    reordered: usize,
    doubled: usize,
    other: usize,
    killed_brokers: usize,
    lost_by_broker: usize,
    recovery: Vec<Duration>,
    resident: u64,
}

impl Sums {
    pub fn add(&mut self, class: &str, outcome: &Outcome) {
        println!("{outcome}");
        *self.faults.entry(class.to_owned()).or_default() += 1;
        self.messages += outcome.messages;
        self.redelivered += outcome.redelivered;
        self.lost += outcome.findings.lost.len();
        self.reordered += outcome.findings.reordered.len();
        self.doubled += outcome.findings.doubled.len();
        self.other += outcome.findings.other.len();
        self.recovery.push(outcome.recovery);
        self.resident = self.resident.max(outcome.resident);
        if let Some(lost) = outcome.lost_by_broker {
            self.killed_brokers += 1;
            self.lost_by_broker += lost;
        }
    }

    /// Prints them; how many findings there were.
    pub fn print(&mut self, seed: u64) -> usize {
        self.recovery.sort_unstable();
        let at = |part: f64| {
            let index = ((self.recovery.len() as f64 * part).ceil() as usize).clamp(1, self.recovery.len()) - 1;
            self.recovery[index].as_secs_f64()
        };
        let faults: usize = self.faults.values().sum();
        println!(
            "seed {seed}: {faults} faults, {} messages, {} lost, {} reordered, {} doubled, {} other findings",
            self.messages, self.lost, self.reordered, self.doubled, self.other
        );
        println!(
            "recovery p50 {:.1} s, p99 {:.1} s; {} redelivered; at most {} MiB resident",
            at(0.5),
            at(0.99),
            self.redelivered,
            self.resident >> 20
        );
        if self.killed_brokers > 0 {
            println!(
                "not promised: {} times Mosquitto was killed, and lost {} messages that it had acknowledged",
                self.killed_brokers, self.lost_by_broker
            );
        }
        let by_class: Vec<_> = self.faults.iter().map(|(fault, count)| format!("{fault} {count}")).collect();
        println!("{}", by_class.join(", "));
        self.lost + self.reordered + self.doubled + self.other
    }
}
