//! A drain brings what was read to its end, or says that it could not.

use std::time::Duration;

use telemill_engine::runtime::Ended;
use telemill_engine::testing::fakes::{FakeSource, SinkStep, collector};
use telemill_engine::testing::{BASE, Sim};

use super::common::*;

#[test]
fn under_load_everything_read_is_acknowledged() {
    let (source, written, dead) = (FakeSource::new(), collector(), collector());
    // More than can be read before the drain, and always there: the source never waits.
    feed(&source, 0..100_000, 5);
    let slow = |_: &_| SinkStep::Write(Duration::from_millis(20));
    let plan = plan(&dead)
        .stage("source", &[], gives(&source))
        .stage("p", &["source"], passes(|_| Ok(())))
        .stage("sink", &["p"], decides(&written, 2, slow))
        .with(|stage| stage.limits.max_records = 50)
        .build();
    Sim::run(BASE, async |sim| {
        let deployment = sim.deploy(plan).await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let view = deployment.view();
        assert_eq!(deployment.drain().await, Ended::Drained);
        assert_balanced(&view);
    });
    assert!(source.is_closed());
    assert_eq!(source.unacknowledged(), 0);
    assert!(source.read() < 100_000);
    assert_eq!(written.numbers(), (0..source.read() as u64).collect::<Vec<_>>());
}

#[test]
fn past_the_deadline_nothing_unsafe_is_acknowledged() {
    let (source, written, dead) = (FakeSource::new(), collector(), collector());
    feed(&source, 0..100, 5);
    let hangs = |b: &telemill_engine::batch::Batch| match b.records[0].received_at.0 % 1000 < 20 {
        true => SinkStep::Write(Duration::ZERO),
        false => SinkStep::Hang,
    };
    let plan = plan(&dead)
        .stage("source", &[], gives(&source))
        .stage("sink", &["source"], decides(&written, 1, hangs))
        .with(|stage| stage.limits.max_records = 5)
        .plan(|plan| plan.drain_deadline = Duration::from_secs(7))
        .build();
    Sim::run(BASE, async |sim| {
        let deployment = sim.deploy(plan).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let started = tokio::time::Instant::now();
        assert_eq!(deployment.drain().await, Ended::DeadlinePassed);
        assert_eq!(started.elapsed().as_secs(), 7);
    });
    assert_eq!(written.len(), 20);
    assert_eq!(source.acknowledged(), 4, "those that were written");
}
