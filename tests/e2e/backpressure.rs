//! A store that hangs slows its own branch and nothing else, and costs no more memory than the topology allows.

use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use telemill_services::Redis;

use crate::support::{DEADLINE, Load, Pace, Publisher, Site, Telemill, by_night, let_pass};

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
