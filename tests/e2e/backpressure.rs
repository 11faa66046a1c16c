//! Overload: a store that hangs or is too slow slows its own branch and nothing else; it, and devices without end, cost no
//! more memory than the topology allows.

use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use telemill_services::{Redis, wait_until};

use crate::support::{DEADLINE, Load, Pace, Publisher, Site, SlowLink, Telemill, by_night, let_pass, nightly};

/// What may be held while Redis hangs: behind `to_store` its mailbox and the writer's (16 MiB each, the default), what the
/// source has read ahead (64 MiB), and as much again for the other stages, the producers' queues and the allocator.
const BOUND: u64 = 160 << 20;
const PACE: Pace = Pace { devices: 50, rate: 1000, size: 24 << 10, unfit_every: None };

#[test]
fn a_store_that_hangs_costs_bounded_memory_and_delays_no_alert() {
    let redis = Redis::start();
    let mut site = Site::with("slow", None, None, Some(&redis));
    site.edit("for: 30s", "for: 1s");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let telemill = Telemill::run(&site);
        let load = Load::start(scope, &stop, &site, PACE);
        let events = telemill.http.events("/api/v1/alerts/stream", None);
        let mut publisher = Publisher::connect(&site.mqtt);
        let hot = format!("{}-hot", site.prefix());
        let_pass(Duration::from_secs(2));
        let before = telemill.resident();
        redis.stop();
        let began = Instant::now();
        let mut most = before;
        let outage = Duration::from_secs(by_night(10, 20));
        let mut raised = None;
        publisher.send(&site.mqtt_topic(&hot, "hello"), r#"{"temperature":99}"#);
        while began.elapsed() < outage {
            let_pass(Duration::from_millis(100));
            most = most.max(telemill.resident());
            let heard = std::iter::from_fn(|| events.within(Duration::ZERO));
            raised = heard.map(|(_, event)| event).find(|event| event["device_id"] == hot.as_str()).or(raised);
        }
        let alert = raised.expect("an alert while Redis hangs");
        assert_eq!(alert["alertname"], "DeviceOverheating");
        redis.cont();
        eprintln!("resident: {} MiB before, {} MiB at most", before >> 20, most >> 20);
        assert!(most < before + BOUND, "resident: {} MiB before, {} MiB at most", before >> 20, most >> 20);

        let truth = load.stop();
        let published = truth.count() * PACE.size;
        assert!(published as u64 > BOUND, "{published} bytes do not show a bound of {BOUND}");
        let log = truth.is_in_the_log(&site, 3, DEADLINE);
        truth.is_in_the_store(&site, &log, DEADLINE);
        telemill.ledgers_balance();
        telemill.drain();
    });
}

/// How long the store takes a tenth of what comes.
const OVERLOAD: Duration = Duration::from_secs(60);
const OVERLOAD_BY_NIGHT: Duration = Duration::from_secs(300);
/// Until every buffer on the way is full.
const WARM_UP: Duration = Duration::from_secs(15);
/// Some 1,100 bytes a record go to the store, where so many a second are let through.
const TENFOLD: Pace = Pace { devices: 20, rate: 1000, size: 1000, unfit_every: None };
const CARRIED: usize = 110 << 10;
/// What may wait between the source and the store: the mailbox in front of the writer, which also counts what the writer
/// has in flight, and a batch of the source's, which is let in whole.
const CAPACITY: u64 = 256 + 512;

#[test]
fn ten_times_what_the_store_takes_slows_its_source_in_flat_memory() {
    let redis = Redis::start();
    let link = SlowLink::to(redis.port());
    let mut site = Site::with("tenfold", None, None, Some(&redis));
    site.redis = link.redis_url();
    site.edit("batch: { max_records: 500 }", "batch: { max_records: 20 }\n    mailbox: { records: 256, bytes: 1MiB }");
    site.edit("-writer }", "-writer, fetch_max: 4MiB }");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let telemill = Telemill::run(&site);
        link.carry(Some(CARRIED));
        let load = Load::start(scope, &stop, &site, TENFOLD);
        let number = |stage: &str, what: &str| telemill.ledger(stage)[what].as_u64().expect("it is counted");
        let_pass(WARM_UP);
        let (written_before, logged_before) = (number("writer", "forwarded"), number("router", "forwarded"));
        let (mut least, mut most) = (u64::MAX, 0);
        let began = Instant::now();
        while began.elapsed() < if nightly() { OVERLOAD_BY_NIGHT } else { OVERLOAD } {
            let_pass(Duration::from_millis(250));
            let resident = telemill.resident();
            (least, most) = (least.min(resident), most.max(resident));
            let (given, written) = (number("to_store", "forwarded"), number("writer", "forwarded"));
            assert!(given <= written + CAPACITY, "{given} records were read for a store that has taken {written}");
        }
        let written = number("writer", "forwarded") - written_before;
        let logged = number("router", "forwarded") - logged_before;
        eprintln!("{written} of {logged} records; resident: {} to {} KiB", least >> 10, most >> 10);
        assert!(written > 0 && logged > 5 * written, "{written} of {logged} records show no overload");
        assert!(most * 10 <= least * 11, "resident: {} to {} KiB", least >> 10, most >> 10);

        link.carry(None);
        let truth = load.stop();
        let log = truth.is_in_the_log(&site, 3, DEADLINE);
        truth.is_in_the_store(&site, &log, DEADLINE);
        telemill.ledgers_balance();
        assert_eq!(telemill.ledger("writer")["dead_lettered"], serde_json::json!({}));
        telemill.drain();
    });
}

#[test]
fn made_up_device_ids_do_not_fill_the_memory() {
    const ROOM: usize = 60;
    const MADE_UP: usize = 600;
    let mut site = Site::new("made-up");
    site.edit("max_sessions: 1000000", &format!("max_sessions: {ROOM}"));
    let telemill = Telemill::run(&site);
    let mut publisher = Publisher::connect(&site.mqtt);
    for n in 0..MADE_UP {
        publisher.send(&site.mqtt_topic(&site.device(n), "data"), r#"{"temperature":99}"#);
    }
    let known = || {
        let gauge = |name: &str| telemill.gauge(name).unwrap_or_default() as usize;
        gauge("telemill_sessions_active") + gauge("telemill_sessions_passivated")
    };
    wait_until(DEADLINE, "all but as many as there is room for to be forgotten", || {
        assert!(known() <= ROOM, "{} sessions", known());
        let forgotten = telemill.gauge("telemill_devices_forgotten_total").unwrap_or_default() as usize;
        (forgotten >= MADE_UP - ROOM).then_some(())
    });
    let told: Vec<_> = telemill.logged("devices_forgotten");
    assert_eq!(told.len(), 1, "once a minute at most: {told:?}");
    assert_eq!(told[0]["reason"], "max_sessions");
    // Whoever was pending is resolved: nobody is left to end it.
    wait_until(DEADLINE, "alerts of no more devices than are known", || {
        let alerts = telemill.http.get("/api/v1/alerts").json();
        alerts.as_array().is_some_and(|alerts| alerts.len() <= ROOM).then_some(())
    });
    telemill.ledgers_balance();
    telemill.drain();
}
