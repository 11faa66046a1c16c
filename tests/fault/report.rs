//! What a run tells.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::round::Outcome;

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

    /// Prints them.
    pub fn print(&mut self, seed: u64) {
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
    }
    /// # Panics
    /// Where anything was found.
    pub fn are_clean(&self) {
        let findings = self.lost + self.reordered + self.doubled + self.other;
        assert!(findings == 0, "{findings} findings; how each round is done again stands below it");
    }
}
