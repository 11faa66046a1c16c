//! The embedded default goes through the same table. Its promise starts at the device, so here the devices know what was
//! acknowledged: each repeats what was not, and what it repeats carries its own id.

mod dead_letters;
mod faults;
mod nest;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::StdRng;
use serde_json::Value;

use crate::check::Findings;
use crate::limits::DRAINED_WITHIN;
use crate::load::{is_hot, temperature};
use crate::memory::Memory;
use crate::options::{RunOptions, Side};
use crate::round::Outcome;
use crate::schedule;
use crate::support::{Device, Fleet, LocalRecord, SmallDisk, let_pass};
pub use faults::ALL;
use faults::{Fault, Scene, UNFIT};
use nest::Nest;

const DEVICES: u64 = 10;

/// The rounds on one nest.
struct Rounds {
    nest: Nest,
    /// Of all devices of all rounds: how often each message was sent.
    sendings: BTreeMap<String, Vec<u32>>,
    /// The devices that have sent what is no record.
    unfit: Vec<String>,
}

impl Rounds {
    fn new(nest: Nest) -> Rounds {
        Rounds { nest, sendings: BTreeMap::new(), unfit: Vec::new() }
    }

    fn round(&mut self, fault: Fault, share: u64, random: &mut StdRng) -> Outcome {
        let first = self.sendings.len() as u64;
        let fleet = Fleet::new(self.nest.proxy.address.port(), share, temperature);
        fleet.open.store(share, Ordering::SeqCst);
        let device = format!("device-{:02}", first + random.random_range(0..DEVICES));
        let memory = Memory::of(&self.nest.engine.pid);
        let mut scene = Scene { nest: &mut self.nest, random, device, unfit: Vec::new(), wrong: Vec::new() };
        let (what, whole, sendings) = thread::scope(|scope| {
            let devices: Vec<_> = (first..first + DEVICES)
                .map(|number| Device::new(&fleet, number))
                .map(|device| scope.spawn(|| device.publish()))
                .collect();
            let_pass(Duration::from_millis(scene.random.random_range(100..800)));
            let what = format!("{fault:?}: {}", scene.inflict(fault));
            let whole = Instant::now();
            let sendings: BTreeMap<_, _> =
                devices.into_iter().map(|device| device.join().expect("the device can publish")).collect();
            (what, whole, sendings)
        });
        self.unfit.append(&mut scene.unfit);
        let mut findings = Findings { other: scene.wrong, ..Findings::default() };
        if let Some(ended) = self.nest.engine.status() {
            findings.other.push(format!("the engine ended by itself: {ended}"));
            self.nest.start(&[]);
        }
        self.nest.engine.until_ready();
        for device in sendings.keys() {
            self.judge(device, share, fault, whole, &mut findings);
        }
        let recovery = whole.elapsed();
        findings.other.extend(self.nest.engine.not_understood());
        let resident = memory.end(&mut findings);
        let messages = (DEVICES * share) as usize;
        let sent: u64 = sendings.values().flatten().map(|times| u64::from(*times)).sum();
        let redelivered = sent as usize - messages;
        self.sendings.extend(sendings);
        Outcome { what, messages, redelivered, lost_by_broker: None, recovery, resident, findings }
    }

    /// The history of a device is what it sent, once and in order, as soon as everything is drained.
    fn judge(&mut self, device: &str, share: u64, fault: Fault, whole: Instant, findings: &mut Findings) {
        let mut history = self.nest.engine.history(device);
        while (history.len() as u64) < share && whole.elapsed() < DRAINED_WITHIN {
            let_pass(Duration::from_millis(50));
            history = self.nest.engine.history(device);
        }
        let mut numbers: Vec<u64> = history.iter().map(|(seq, _)| *seq).collect();
        if fault == Fault::Clock {
            // The history is in the order of time, and later records have earlier times.
            numbers.sort_unstable();
        }
        if !numbers.iter().copied().eq(1..=share) {
            let missing = (1..=share).filter(|seq| !numbers.contains(seq)).count();
            let what = format!("{device}: {} messages in the history, {missing} of {share} missing", numbers.len());
            let kind = match numbers.len() as u64 {
                _ if missing > 0 => &mut findings.lost,
                len if len > share => &mut findings.doubled,
                _ => &mut findings.reordered,
            };
            kind.push(what);
        }
        let state = self.nest.engine.device(device)["state"]["payload"]["seq"].clone();
        if state != share {
            findings.lost.push(format!("{device}: the state is {state}, not {share}"));
        }
    }

    /// Ends the engine, and reads what is in the log: every acknowledged message in order, a repetition marked as one, of
    /// every alert exactly the transitions that follow, and what was unfit, and nothing else, among the dead letters.
    fn end(mut self) {
        self.nest.engine.ledgers_balance();
        self.nest.drain();
        let log = self.nest.local.log("iot-data");
        let alerts = self.nest.local.log("alerts");
        for (device, sendings) in &self.sendings {
            LocalRecord::are_in_order(device, sendings, &log[device]);
            let wanted = (1..=sendings.len() as u64).filter(|seq| is_hot(*seq) != is_hot(seq - 1)).count();
            let transitions: Vec<&Value> = alerts.get(device).into_iter().flatten().map(|r| &r.message).collect();
            for (place, transition) in transitions.iter().enumerate() {
                let state = if place % 2 == 0 { "firing" } else { "resolved" };
                let is_due = transition["state"] == state && transition["sequence"] == place as u64 + 1;
                assert!(is_due, "{device}: {place} is {transition}");
            }
            assert_eq!(transitions.len(), wanted, "transitions of {device}");
        }
        let unfit = self.unfit.iter().map(|device| (device.clone(), UNFIT.map(str::to_owned).to_vec()));
        assert_eq!(dead_letters::reasons(&self.nest.local.data()), unfit.collect(), "the dead letters");
    }
}

#[test]
fn faults_break_no_promise_of_the_embedded_default() {
    let options = RunOptions::read();
    let classes = options.classes(Side::Embedded, &ALL);
    if classes.is_empty() {
        return;
    }
    // Several times what goes through a broker: it takes a few seconds, too, and the fault is to fall into it.
    let share = (options.messages as u64).div_ceil(2);
    let mut rounds = Rounds::new(Nest::new("fault-embedded", None));
    let mut sums = schedule::run(&options, Side::Embedded, &classes, |fault, random| match fault {
        // On a disk of its own.
        Fault::FullDisk => {
            let disk = SmallDisk::new("fault-disk", "96m");
            let mut rounds = Rounds::new(Nest::new("fault-disk", Some(disk)));
            let outcome = rounds.round(fault, share, random);
            rounds.end();
            outcome
        }
        _ => rounds.round(fault, share, random),
    });
    sums.print(options.seed);
    rounds.end();
    sums.are_clean();
}
