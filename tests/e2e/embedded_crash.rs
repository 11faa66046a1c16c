//! The embedded default, killed again and again while devices publish and repeat what was not acknowledged.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use rand::Rng;
use telemill_services::wait_until;

use crate::support::{DEADLINE, Device, Fleet, Local, LocalRecord, Numbers, by_night, let_pass};

const DEVICES: u64 = 50;

#[test]
fn killed_again_and_again_every_acknowledged_record_is_there_in_order_and_a_repeat_is_marked() {
    let site = Site::new("embedded-crash", false);
    let log = site.killed_under_load();
    site.history_is(&log.into_iter().map(|(device, records)| (device, numbers(&records))).collect());
}

#[test]
fn killed_again_and_again_every_acknowledged_record_is_there_once_where_identity_names_its_id() {
    let site = Site::new("embedded-identity", true);
    let log = site.killed_under_load();
    let firsts = |records: &[LocalRecord]| {
        let mut seen = HashSet::new();
        let mut numbers = numbers(records);
        numbers.retain(|(seq, _)| seen.insert(*seq));
        numbers
    };
    site.history_is(&log.into_iter().map(|(device, records)| (device, firsts(&records))).collect());
}

fn numbers(records: &[LocalRecord]) -> Numbers {
    records.iter().map(|record| (record.seq(), record.header("event-id").to_owned())).collect()
}

/// The quick start without its fleet, on a port that stays the same.
struct Site {
    local: Local,
    port: u16,
}

impl Site {
    /// With `identity` the session knows a message by its `mid`, and the store is behind the session.
    fn new(test: &str, identity: bool) -> Site {
        let mut local = Local::without_fleet(test);
        if identity {
            local.edit("offline_after: 60s", "offline_after: 60s\n      identity: payload.mid");
            local.edit("  to_store:\n    kafka_source:", "  #");
            local.edit("inputs: [to_store]", "inputs: [sessions]");
        }
        let port = local.on_one_port();
        Site { local, port }
    }

    /// Kills Telemill again and again while a fleet publishes; the log of each device, which is as it must be.
    fn killed_under_load(&self) -> BTreeMap<String, Vec<LocalRecord>> {
        let kills = by_night(3, 30);
        let share = by_night(3_000, 20_000) / DEVICES;
        let fleet = Fleet::new(self.port, share, |_| 20.5);
        let sendings = self.run(&fleet, kills);
        let log = self.local.log("iot-data");
        assert!(self.local.log("iot-data-dlq").is_empty(), "a record is a dead letter");
        assert!(log.keys().eq(sendings.keys()), "{:?} instead of {:?}", log.keys(), sendings.keys());
        for (device, sendings) in &sendings {
            LocalRecord::are_in_order(device, sendings, &log[device]);
        }
        let sent: u64 = sendings.values().flatten().map(|times| u64::from(*times)).sum();
        let (acknowledged, logged) = (DEVICES * share, log.values().map(Vec::len).sum::<usize>() as u64);
        let twice = logged - acknowledged;
        eprintln!("{kills} kills: {acknowledged} acknowledged, {sent} sendings, {logged} in the log, {twice} repeats");
        assert!(twice > 0, "no acknowledgement was lost, so there was nothing to recognise");
        log
    }

    /// Runs Telemill, killed so many times, until the fleet has published everything, and drains it. By device, how
    /// often each message was sent.
    fn run(&self, fleet: &Fleet, kills: u64) -> BTreeMap<String, Vec<u32>> {
        // What the fleet may send is opened in steps, each before it is needed, the last with the last kill: so there is
        // a load for every kill.
        let step = |step: u64| fleet.share * step / (kills + 2);
        fleet.open.store(step(2), Ordering::SeqCst);
        thread::scope(|scope| {
            let mut telemill = self.local.start();
            let publish = |number| scope.spawn(move || Device::new(fleet, number).publish());
            let devices: Vec<_> = (0..DEVICES).map(publish).collect();
            for kill in 1..=kills {
                if rand::rng().random_bool(0.7) {
                    let part = rand::rng().random_range(DEVICES * step(kill - 1)..DEVICES * step(kill));
                    eprintln!("kill {kill} when {part} are acknowledged");
                    wait_until(DEADLINE, "acknowledgements", || {
                        assert!(!devices.iter().any(|device| device.is_finished()), "a device gave up");
                        (fleet.acknowledged.load(Ordering::SeqCst) >= part).then_some(())
                    });
                } else {
                    let after = Duration::from_millis(rand::rng().random_range(0..1000));
                    eprintln!("kill {kill} after {after:?}");
                    let_pass(after);
                }
                // Devices that came to the end of what was open go on when they are connected again.
                fleet.open.store(step(kill + 2), Ordering::SeqCst);
                telemill.kill9();
                telemill = self.local.start();
            }
            let sendings = devices.into_iter().map(|device| device.join().expect("the device can publish")).collect();
            telemill.until_ready();
            telemill.ledgers_balance();
            telemill.drain();
            sendings
        })
    }

    /// Starts Telemill again, and waits until the history of these devices is long enough; it is exactly this.
    fn history_is(&self, wanted: &BTreeMap<String, Numbers>) {
        let telemill = self.local.run();
        for (device, wanted) in wanted {
            let found = wait_until(DEADLINE, &format!("{} messages of {device}", wanted.len()), || {
                let found = telemill.history(device);
                (found.len() >= wanted.len()).then_some(found)
            });
            let part = found.iter().zip(wanted).find(|(found, wanted)| found != wanted);
            let (are, should) = (found.len(), wanted.len());
            assert!(&found == wanted, "{device}: {are} messages instead of {should}; the first that part: {part:?}");
        }
        telemill.ledgers_balance();
        telemill.drain();
    }
}
