//! Which faults, in which order, and what came of them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::faults::{ALL, Fault};
use crate::load::Volley;
use crate::points::AT_FIRST;
use crate::rig::Rig;
use crate::round::{Outcome, Rounds};

/// What a run is told by its environment (`tests/fault/run` sets it).
struct Orders {
    seed: u64,
    /// How long to go on; one of each class where nothing is said.
    lasts: Option<Duration>,
    messages: usize,
    /// Only faults of this class.
    only: Option<String>,
}

impl Orders {
    fn read() -> Orders {
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
struct Sums {
    faults: BTreeMap<Fault, usize>,
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
    fn add(&mut self, fault: Fault, outcome: &Outcome) {
        *self.faults.entry(fault).or_default() += 1;
        self.messages += outcome.messages;
        self.redelivered += outcome.redelivered;
        self.lost += outcome.findings.lost.len();
        self.reordered += outcome.findings.reordered.len();
        self.doubled += outcome.findings.doubled.len();
        self.other += outcome.findings.other.len();
        self.recovery.push(outcome.recovery);
        self.resident = self.resident.max(outcome.resident);
        if fault == Fault::BrokerKilled {
            self.killed_brokers += 1;
            self.lost_by_broker += outcome.lost_by_broker;
        }
    }

    fn print(&mut self, seed: u64) {
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
        println!(
            "not promised: {} times Mosquitto was killed, and lost {} messages that it had acknowledged",
            self.killed_brokers, self.lost_by_broker
        );
        let by_class: Vec<_> = self.faults.iter().map(|(fault, count)| format!("{fault:?} {count}")).collect();
        println!("{}", by_class.join(", "));
    }
}

#[test]
fn faults_break_no_promise() {
    let orders = Orders::read();
    let mut random = StdRng::seed_from_u64(orders.seed);
    let volley = Volley {
        devices: 20,
        messages: orders.messages,
        rate: (orders.messages / 2).clamp(1000, 3000),
        unfit_every: 100,
    };
    let mut rounds = Rounds::new(begun());
    let mut sums = Sums::default();
    let began = Instant::now();
    'all: loop {
        let mut faults: Vec<Fault> = ALL.to_vec();
        if let Some(only) = &orders.only {
            faults.retain(|fault| format!("{fault:?}") == *only);
            assert!(!faults.is_empty(), "there is no class of faults `{only}`");
        }
        faults.shuffle(&mut random);
        for fault in faults {
            if orders.lasts.is_some_and(|lasts| began.elapsed() > lasts) {
                break 'all;
            }
            let outcome = rounds.round(fault, volley, &mut random);
            println!("{outcome}");
            sums.add(fault, &outcome);
        }
        if orders.lasts.is_none() {
            break;
        }
    }
    rounds.rig.engine().ledgers_balance();
    rounds.rig.drain();
    sums.print(orders.seed);
    let findings = sums.lost + sums.reordered + sums.doubled + sums.other;
    assert!(findings == 0, "{findings} findings; again with: tests/fault/run --seed {}", orders.seed);
}

/// A rig whose engine is ready, and has died before at every point that is only come to once.
fn begun() -> Rig {
    let mut rig = Rig::new("fault");
    for point in AT_FIRST {
        rig.start(&[format!("kill {point} 1")]);
        assert!(rig.dies(Duration::from_secs(60)), "the engine did not come to {point}");
    }
    rig.run();
    rig
}
