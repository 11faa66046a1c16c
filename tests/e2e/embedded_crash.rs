//! The embedded default, killed again and again while devices publish and repeat what was not acknowledged.

mod device;

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rand::Rng;
use telemill_services::wait_until;

use crate::support::{DEADLINE, Local, LocalRecord, Numbers, by_night, let_pass};
use device::{Device, Fleet};

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
        let fleet = Fleet { port: self.port, share, open: AtomicU64::new(0), acknowledged: AtomicU64::new(0) };
        let sendings = self.run(&fleet, kills);
        let log = self.local.log("iot-data");
        assert!(self.local.log("iot-data-dlq").is_empty(), "a record is a dead letter");
        assert!(log.keys().eq(sendings.keys()), "{:?} instead of {:?}", log.keys(), sendings.keys());
        for (device, sendings) in &sendings {
            is_in_order(device, sendings, &log[device]);
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

/// Asserts that a device's records are all there, each for the first time in the order of sending, and that one that is
/// there again was sent again and is marked so. `sendings`: how often each was sent; all of them were acknowledged.
fn is_in_order(device: &str, sendings: &[u32], records: &[LocalRecord]) {
    let mut seen: Vec<(&LocalRecord, u32)> = Vec::new();
    for record in records {
        let seq = record.seq();
        let times = *sendings.get(seq as usize - 1).unwrap_or_else(|| panic!("{device} never sent {seq}"));
        assert!(times > 1 || !record.headers.contains_key("dup"), "{device} sent {seq} once: {record:?}");
        let Some((first, there)) = seen.get_mut(seq as usize - 1) else {
            assert_eq!(seq, seen.len() as u64 + 1, "{device}: the next is missing or out of order");
            seen.push((record, 1));
            continue;
        };
        *there += 1;
        assert!(*there <= times, "{device} sent {seq} {times} times, it is there more often");
        assert_eq!(record.header("dup"), "1");
        for same in ["packet-id", "payload-hash"] {
            assert_eq!(record.header(same), first.header(same), "{device}: {seq}");
        }
        assert_eq!(record.message["payload"], first.message["payload"]);
        assert_ne!(record.header("event-id"), first.header("event-id"), "{device}: {seq} was taken twice");
    }
    assert_eq!(seen.len(), sendings.len(), "{device}: the last are missing");
}
