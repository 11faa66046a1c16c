//! What a crash of the process, or an outage of the broker, may not do.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use rand::Rng;
use serde_json::Value;
use telemill_services::{Kafka, Mosquitto, Redis, wait_until};

use crate::support::{DEADLINE, Load, Pace, Publisher, Reader, Site, Telemill, Truth, by_night, let_pass};

/// Killed at any moment (starting, restoring, under load) and started again, everything is there once, in order.
#[test]
fn killed_again_and_again_nothing_is_lost_doubled_or_reordered() {
    let kills = by_night(3, 10);
    let mut site = Site::new("crash");
    site.edit("for: 30s", "for: 1s");
    let stop = AtomicBool::new(false);
    let truth = thread::scope(|scope| {
        let mut telemill = Telemill::run(&site);
        let pace = Pace { devices: 100, rate: by_night(800, 2000), size: 100, unfit_every: Some(50) };
        let load = Load::start(scope, &stop, &site, pace);
        for kill in 0..kills {
            let after = Duration::from_millis(rand::rng().random_range(500..4000));
            eprintln!("kill {kill} after {after:?}");
            let_pass(after);
            telemill.kill9();
            telemill = Telemill::start(&site);
        }
        telemill.until_ready();
        let truth = everything_is_there(&site, telemill, load);
        transitions_are_whole(&site);
        truth
    });
    assert!(truth.count() > 1000, "that was no load");
}

/// A log that hangs still has what the process sent before it was killed, and writes it when it goes on: while the next
/// process looks what is there, or later.
#[test]
fn what_a_killed_process_left_on_the_wire_is_not_written_twice() {
    let kafka = Kafka::start();
    let site = Site::with("wire", None, Some(&kafka), None);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let mut telemill = Telemill::run(&site);
        let load =
            Load::start(scope, &stop, &site, Pace { devices: 100, rate: 2000, size: 100, unfit_every: Some(50) });
        for _ in 0..by_night(1, 5) {
            let_pass(Duration::from_millis(rand::rng().random_range(1000..2000)));
            kafka.stop();
            let_pass(Duration::from_millis(rand::rng().random_range(200..1000)));
            telemill.kill9();
            telemill = Telemill::start(&site);
            let_pass(Duration::from_millis(rand::rng().random_range(0..1000)));
            kafka.cont();
            telemill.until_ready();
        }
        everything_is_there(&site, telemill, load);
    });
}

/// A store that is killed loses what it had not written out (a second, with Debian's settings); the log still has it.
#[test]
fn a_store_and_a_log_that_are_killed_under_load_come_back_whole() {
    let (kafka, redis) = (Kafka::start(), Redis::start());
    let site = Site::with("killed", None, Some(&kafka), Some(&redis));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let telemill = Telemill::run(&site);
        let load = Load::start(scope, &stop, &site, Pace { devices: 100, rate: 800, size: 100, unfit_every: Some(50) });
        for _ in 0..by_night(1, 5) {
            for server in [&*redis, &*kafka] {
                let_pass(Duration::from_millis(rand::rng().random_range(1000..2500)));
                server.kill9();
                server.restart();
            }
        }
        everything_is_there(&site, telemill, load);
    });
}

/// Ends the load, and asserts that what it published is in the log and in the store, or dead where it was unfit: once, in
/// order. Then the process drains.
fn everything_is_there(site: &Site, telemill: Telemill, load: Load<'_>) -> Truth {
    let truth = load.stop();
    let log = truth.is_in_the_log(site, 3, DEADLINE);
    truth.is_in_the_store(site, &log, DEADLINE);
    truth.unfit_is_dead(site, DEADLINE);
    telemill.ledgers_balance();
    telemill.drain();
    truth
}

/// Of every alert, each transition is in the log once, in order, and follows from the one before it.
fn transitions_are_whole(site: &Site) {
    let mut alerts: BTreeMap<String, Vec<(u64, String)>> = BTreeMap::new();
    for record in Reader::new(&site.kafka).all(&site.topic("alerts")) {
        let transition: Value = serde_json::from_str(record.text()).expect("a transition is JSON");
        let text = |key: &str| transition[key].as_str().unwrap_or_default().to_owned();
        let sequence = transition["sequence"].as_u64().expect("it is numbered");
        alerts.entry(text("fingerprint")).or_default().push((sequence, text("state")));
    }
    assert!(alerts.len() >= 100, "only {} devices were hot", alerts.len());
    for (fingerprint, transitions) in alerts {
        let mut before = "resolved";
        for (place, (sequence, state)) in transitions.iter().enumerate() {
            let follows = matches!(
                (before, state.as_str()),
                ("resolved", "pending") | ("pending", "firing" | "resolved") | ("firing", "resolved")
            );
            assert!(follows && *sequence == place as u64 + 1, "{fingerprint}: {transitions:?}");
            before = state;
        }
    }
}

/// While the broker is away nobody can be heard, so nobody is silent.
#[test]
fn an_outage_of_the_broker_makes_no_device_offline_or_silent() {
    const DEVICES: usize = 20;
    let mosquitto = Mosquitto::start();
    let mut site = Site::with("away", Some(&mosquitto), None, None);
    site.edit("offline_after: 60s", "offline_after: 3s");
    site.edit("absent_for: 10m", "absent_for: 3s");
    let telemill = Telemill::run(&site);
    let events = telemill.http.events("/api/v1/alerts/stream", None);
    let mut publisher = Publisher::connect(&site.mqtt);
    let mut hello = || {
        for n in 0..DEVICES {
            publisher.send(&site.mqtt_topic(&site.device(n), "hello"), "");
        }
        publisher.settled();
    };
    let online = || telemill.http.get("/devices").json().as_array().expect("a list").len();
    hello();
    wait_until(DEADLINE, "all devices online", || (online() == DEVICES).then_some(()));

    hello();
    mosquitto.terminate();
    let rounds = by_night(50, 900);
    for round in 0..rounds {
        let_pass(Duration::from_millis(200));
        assert_eq!(online(), DEVICES, "in round {round} of {rounds} of the outage");
    }
    mosquitto.restart();
    hello();
    wait_until(DEADLINE, "the ingress to be back", || {
        (telemill.ledger("ingress")["received"].as_u64() >= Some(3 * DEVICES as u64)).then_some(())
    });
    assert_eq!(online(), DEVICES);
    assert!(events.within(Duration::ZERO).is_none(), "an outage of the broker is no alert");

    // Silence while the broker is there is another thing.
    wait_until(DEADLINE, "all devices offline", || (online() == 0).then_some(()));
    let (_, silent) = events.next();
    assert_eq!(silent["alertname"], "DeviceSilent");
    telemill.drain();
}
