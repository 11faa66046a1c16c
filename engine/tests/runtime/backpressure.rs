//! How much a source reads when nothing is written: exactly what the capacities allow.

use std::time::Duration;

use telemill_engine::runtime::Capacity;
use telemill_engine::testing::fakes::{FakeSource, SinkStep, collector};
use telemill_engine::testing::{BASE, Sim, record};

use super::common::*;

/// A source, processors with these capacities, and a sink that never answers; what the source has read in the end.
fn read_with(capacities: &[usize], sink_capacity: usize, window: usize, batch: usize) -> usize {
    let (feed_source, written, dead) = (FakeSource::new(), collector(), collector());
    feed(&feed_source, 0..1000, batch);
    let capacity = |records| Capacity { records, bytes: usize::MAX };
    let mut builder = plan(&dead).stage("source", &[], gives(&feed_source));
    let mut before = "source".to_owned();
    for (number, records) in capacities.iter().enumerate() {
        let name = format!("p{number}");
        builder =
            builder.stage(&name, &[&before], passes(|_| Ok(()))).with(|stage| stage.capacity = capacity(*records));
        before = name;
    }
    let plan = builder
        .stage("sink", &[&before], decides(&written, window, |_| SinkStep::Hang))
        .with(|stage| stage.capacity = capacity(sink_capacity))
        .build();
    Sim::run(BASE, async |sim| {
        let _deployment = sim.deploy(plan).await.unwrap();
        tokio::time::sleep(Duration::from_secs(3600)).await;
    });
    assert!(written.is_empty() && dead.is_empty());
    assert_eq!(feed_source.acknowledged(), 0);
    feed_source.read()
}

#[test]
fn a_sink_that_never_answers_lets_in_its_capacity_and_one_batch_waits() {
    assert_eq!(read_with(&[], 10, 1, 1), 10 + 1);
    assert_eq!(read_with(&[], 10, 4, 1), 10 + 1, "what is in flight is within the capacity");
    assert_eq!(read_with(&[], 10, 20, 1), 10 + 1, "and a window beyond it adds nothing");
    assert_eq!(read_with(&[], 10, 1, 5), 10 + 5);
    assert_eq!(read_with(&[], 10, 1, 4), 8 + 4, "a batch that does not fit whole waits whole");
    assert_eq!(read_with(&[], 3, 1, 5), 5 + 5, "a batch larger than the mailbox passes alone");
}

#[test]
fn every_stage_between_adds_its_capacity() {
    assert_eq!(read_with(&[7], 10, 1, 1), 7 + 10 + 1);
    assert_eq!(read_with(&[7, 2], 10, 1, 1), 7 + 2 + 10 + 1);
}

#[test]
fn a_slow_sink_gets_everything_in_order() {
    let (source, written, dead) = (FakeSource::new(), collector(), collector());
    feed(&source, 0..500, 7);
    source.end();
    let slow = |_: &_| SinkStep::Write(Duration::from_millis(300));
    let plan = plan(&dead)
        .stage("source", &[], gives(&source))
        .stage("sink", &["source"], decides(&written, 1, slow))
        .with(|stage| {
            stage.capacity = Capacity { records: 40, bytes: usize::MAX };
            stage.limits.max_records = 16;
        })
        .build();
    Sim::run(BASE, async |sim| {
        let deployment = sim.deploy(plan).await.unwrap();
        deployment.ended().await;
        assert_balanced(&deployment.view());
    });
    assert_eq!(written.numbers(), (0..500).collect::<Vec<_>>());
    assert!(written.batches().iter().all(|size| *size <= 16));
    assert!(written.batches().iter().filter(|size| **size >= 14).count() > 20, "full batches: {:?}", written.batches());
}

/// What a store answers late is sent again whole: were there no bound, a slow one might never answer in time.
#[test]
fn a_batch_is_bounded_in_bytes_too() {
    let (source, written, dead) = (FakeSource::new(), collector(), collector());
    let large = |number: usize| {
        let mut record = record("d1", number);
        record.payload = [&record.payload[..], &[b' '; 300_000]].concat().into();
        record
    };
    let mut records: Vec<_> = (0..10).map(large).collect();
    records[4].payload = [&records[4].payload[..], &[b' '; 2_000_000]].concat().into();
    records.extend((10..30).map(|number| record("d1", number)));
    source.feed(0, records);
    source.end();
    let plan = plan(&dead).stage("source", &[], gives(&source)).stage("sink", &["source"], writes(&written)).build();
    Sim::run(BASE, async |sim| {
        let deployment = sim.deploy(plan).await.unwrap();
        deployment.ended().await;
        assert_balanced(&deployment.view());
    });
    assert_eq!(written.numbers(), (0..30).collect::<Vec<_>>());
    assert_eq!(written.batches(), [3, 1, 1, 3, 22], "a megabyte each, and what is larger alone");
}
