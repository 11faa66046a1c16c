//! SIGTERM: what is in flight is finished and written down, or left for the next start.

use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use telemill_services::Redis;

use crate::support::{DEADLINE, Load, Pace, Reader, Site, Telemill, let_pass};

const PACE: Pace = Pace { devices: 100, rate: 1000, size: 100, unfit_every: None };

#[test]
fn a_drain_under_load_ends_well_and_the_next_start_goes_on() {
    let site = Site::new("drain");
    let stop = AtomicBool::new(false);
    let reader = Reader::new(&site.kafka);
    thread::scope(|scope| {
        let mut telemill = Telemill::run(&site);
        let load = Load::start(scope, &stop, &site, PACE);
        for _ in 0..2 {
            let_pass(Duration::from_secs(2));
            telemill.terminate();
            let began = Instant::now();
            assert_eq!(telemill.exit_code(DEADLINE), 0);
            assert!(began.elapsed() < Duration::from_secs(31), "past the deadline: {:?}", began.elapsed());
            telemill = Telemill::run(&site);
        }
        let truth = load.stop();
        let log = truth.is_in_the_log(&site, 3, DEADLINE);
        truth.is_in_the_store(&site, &log, DEADLINE);
        telemill.ledgers_balance();
        telemill.drain();
        for group in [site.prefix().to_owned(), format!("{}-writer", site.prefix())] {
            assert_eq!(reader.lag(&group, &site.topic("data")), 0, "{group}");
        }
    });
}

#[test]
fn past_the_deadline_it_ends_with_a_failure_and_nothing_is_lost() {
    let redis = Redis::start();
    let mut site = Site::with("late", None, None, Some(&redis));
    site.edit("drain_deadline: 30s", "drain_deadline: 2s");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let mut telemill = Telemill::run(&site);
        let load = Load::start(scope, &stop, &site, PACE);
        let_pass(Duration::from_secs(1));
        redis.stop();
        let_pass(Duration::from_secs(1));
        telemill.terminate();
        let began = Instant::now();
        assert_eq!(telemill.exit_code(DEADLINE), 1);
        assert!(began.elapsed() < Duration::from_secs(12), "a deadline of 2 s took {:?}", began.elapsed());
        assert_eq!(telemill.logged("drain_deadline").len(), 1);

        redis.cont();
        let telemill = Telemill::run(&site);
        let truth = load.stop();
        let log = truth.is_in_the_log(&site, 3, DEADLINE);
        truth.is_in_the_store(&site, &log, DEADLINE);
        telemill.drain();
    });
}
