//! SIGTERM: what is in flight is finished and written down, or left for the next start.

use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use telemill_services::Redis;

use crate::support::{DEADLINE, Load, Pace, Reader, Site, Store, Telemill, let_pass};

const PACE: Pace = Pace { devices: 100, rate: 1000, size: 100, unfit_every: None };

#[test]
fn a_drain_under_load_ends_well_and_the_next_start_goes_on() {
    let site = Site::new("drain");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let mut telemill = Telemill::run(&site);
        let load = Load::start(scope, &stop, &site, PACE);
        for _ in 0..2 {
            let_pass(Duration::from_secs(2));
            telemill.terminate();
            let began = Instant::now();
            assert_eq!(telemill.exit_code(DEADLINE), 0);
            assert!(began.elapsed() < Duration::from_secs(31), "past the deadline: {:?}", began.elapsed());
            everything_done_is_written_down(&site);
            telemill = Telemill::run(&site);
        }
        let truth = load.stop();
        let log = truth.is_in_the_log(&site, 3, DEADLINE);
        truth.is_in_the_store(&site, &log, DEADLINE);
        telemill.ledgers_balance();
        telemill.drain();
        everything_done_is_written_down(&site);
    });
}

/// What was committed is what the store and the checkpoint have, to the record.
fn everything_done_is_written_down(site: &Site) {
    let (reader, mut store, topic) = (Reader::new(&site.kafka), Store::new(&site.redis), site.topic("data"));
    let writers = reader.committed(&format!("{}-writer", site.prefix()), &topic);
    let sessions = reader.committed(site.prefix(), &topic);
    assert_eq!(writers.len(), 3, "every partition has something");
    for (partition, next) in writers {
        let (id, done) = store.guard(&site.name, "writer", partition).expect("the writer has a guard");
        assert_eq!(next, done + 1, "partition {partition} of the writer");
        let covered = store.checkpoint(&site.name, "events", partition, &id).map(|offset| offset + 1);
        assert_eq!(sessions.get(&partition).copied(), covered, "partition {partition} of the sessions");
    }
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
