//! Sharing a group with others.

use telemill_engine::position::Partition;
use telemill_engine::source::{ResumeAt, SourceBatch, SourceEvent};

use super::driven::{Driven, numbers};
use super::fixture::{Fixture, Options};

const START: u64 = 1_700_000_000_000;

/// What a source was told.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Gained(Vec<Partition>),
    Lost(Vec<Partition>),
}

/// Answers until the source is told something of its assignment.
async fn told(source: &mut Driven) -> Told {
    match source.next(10).await.unwrap() {
        SourceEvent::Assigned { mut partitions, reply } => {
            let _ = reply.send(partitions.iter().map(|partition| (*partition, ResumeAt::Committed)).collect());
            partitions.sort_unstable();
            Told::Gained(partitions)
        }
        SourceEvent::Revoked { mut partitions, done } => {
            let _ = done.send(());
            partitions.sort_unstable();
            Told::Lost(partitions)
        }
        other => panic!("expected news of the assignment, not {other:?}"),
    }
}

#[tokio::test]
async fn a_partition_that_moves_is_committed_first_and_goes_on_where_it_was() {
    let mut fixture = Fixture::new(2, 2);
    fixture.create_topics().await;
    for partition in 0..2 {
        for n in 0..6 {
            fixture.produce(&fixture.topics[(n % 2) as usize], partition, n, START + n).await;
        }
    }
    let options = Options { session_timeout: Some("10s"), ..Options::default() };
    let mut first = fixture.build(options).await.unwrap();
    assert_eq!(told(&mut first).await, Told::Gained(vec![0, 1]));
    let mut batches = Vec::new();
    while !(0..2).all(|partition| batches.iter().any(|batch: &SourceBatch| batch.partition == partition)) {
        batches.push(first.batch(4).await);
    }

    fixture.stage.push_str("-other");
    let mut second = fixture.build(options).await.unwrap();
    // The first drains what it has in flight of the partition that it loses, and only then says so.
    let (lost, done) = loop {
        match first.next(1).await.unwrap() {
            SourceEvent::Revoked { partitions, done } => break (partitions, done),
            SourceEvent::Batch(_) => {}
            other => panic!("expected a revocation, not {other:?}"),
        }
    };
    assert_eq!(lost.len(), 1, "the other partition stays where it is");
    let moved = batches.iter().find(|batch| batch.partition == lost[0]).unwrap();
    assert_eq!(numbers(&moved.records), [0, 1, 2, 3]);
    first.acknowledge(moved).await;
    done.send(()).unwrap();

    assert_eq!(told(&mut second).await, Told::Gained(lost.clone()));
    assert_eq!(fixture.committed(lost[0]), [Some(2), Some(2)]);
    assert_eq!(numbers(&second.records(2).await), [4, 5]);
    // What the first says of it from now on changes nothing.
    first.acknowledge(moved).await;

    second.close().await;
    first.close().await;
}

#[tokio::test]
async fn a_partition_that_is_not_drained_in_time_is_given_up_uncommitted() {
    let mut fixture = Fixture::new(1, 2);
    fixture.create_topics().await;
    for partition in 0..2 {
        fixture.produce(&fixture.topics[0], partition, 0, START).await;
    }
    let options = Options { session_timeout: Some("6s"), ..Options::default() };
    let mut first = fixture.build(options).await.unwrap();
    assert_eq!(told(&mut first).await, Told::Gained(vec![0, 1]));
    let batches = [first.batch(10).await, first.batch(10).await];
    fixture.stage.push_str("-other");
    let mut second = fixture.build(options).await.unwrap();
    let SourceEvent::Revoked { partitions: lost, done } = first.next(1).await.unwrap() else {
        panic!("expected a revocation")
    };
    assert_eq!(told(&mut second).await, Told::Gained(lost.clone()), "it did not wait for ever");
    assert!(done.is_closed());
    let late = batches.iter().find(|batch| batch.partition == lost[0]).unwrap();
    first.acknowledge(late).await;
    assert_eq!(numbers(&second.records(1).await), [0], "it is read again by the other");
    first.close().await;
    assert_eq!(fixture.committed(lost[0]), [Some(0)], "the late acknowledgement was not committed");
    second.close().await;
}
