//! What is committed, and what a restart begins with.

use std::time::{Duration, Instant};

use telemill_engine::source::{Acker, ResumeAt, SourceEvent};

use super::driven::{Driven, cursor, numbers, offset};
use super::fixture::{Fixture, Options};

const START: u64 = 1_700_000_000_000;

async fn fill(fixture: &Fixture, numbers: std::ops::Range<u64>) {
    for n in numbers {
        fixture.produce(&fixture.topics[0], 0, n, START + n).await;
    }
}

#[tokio::test]
async fn what_is_committed_is_what_was_acknowledged() {
    let fixture = Fixture::new(2, 1).with_marks();
    fixture.create_topics().await;
    fill(&fixture, 0..8).await;
    fixture.produce(&fixture.topics[1], 0, 8, START + 8).await;
    fixture.produce_mark(0, START + 9, &[]).await;

    let mut source = fixture.start().await;
    source.assigned(ResumeAt::Committed).await;
    let first = source.batch(3).await;
    fixture.until_committed(0, &[0, 0, 0]).await;
    let second = source.batch(3).await;
    let third = source.batch(1).await;
    assert_eq!([&first, &second, &third].map(|batch| batch.records.len()), [3, 3, 1]);
    source.acknowledge(&second).await;
    fixture.until_committed(0, &[6, 0, 0]).await;
    let rest = source.records(3).await;
    assert_eq!(rest.len(), 3);
    source.acknowledge(&third).await;
    // The last commit is made while closing, and goes no further than the last acknowledgement.
    source.close().await;
    assert_eq!(fixture.committed(0), [7, 0, 0].map(Some));

    let mut source = fixture.start().await;
    source.assigned(ResumeAt::Committed).await;
    let mut again = Vec::new();
    while again.len() < 3 {
        let batch = source.batch(10).await;
        source.acknowledge(&batch).await;
        again.extend(batch.records);
    }
    assert_eq!(numbers(&again[..2]), [7, 8]);
    fixture.until_committed(0, &[8, 1, 1]).await;
    source.close().await;
}

#[tokio::test]
async fn batches_are_chained_within_an_assignment() {
    let fixture = Fixture::new(1, 1);
    let id = fixture.create_topics().await[&fixture.topics[0]];
    fill(&fixture, 0..4).await;
    let mut source = fixture.start().await;
    source.assigned(ResumeAt::Committed).await;
    let first = source.batch(2).await;
    assert!(first.previous.is_empty(), "it is the first");
    let second = source.batch(2).await;
    assert_eq!(second.previous.to_vec(), [(id, 1, 0)]);

    source.acker.give_back(second.partition, second.tag).await.unwrap();
    source.assigned(ResumeAt::Committed).await;
    let again = source.batch(10).await;
    assert!(again.previous.is_empty(), "it is the first of a new assignment");
    source.close().await;
}

#[tokio::test]
async fn what_is_given_back_is_read_again_from_what_is_safe() {
    let fixture = Fixture::new(1, 2);
    let id = fixture.create_topics().await[&fixture.topics[0]];
    fill(&fixture, 0..10).await;
    let mut source = fixture.start().await;
    source.assigned(ResumeAt::Committed).await;
    let [first, second, third] = [source.batch(3).await, source.batch(3).await, source.batch(3).await];
    source.acknowledge(&first).await;
    source.acker.give_back(0, second.tag).await.unwrap();
    source.acker.give_back(0, third.tag).await.unwrap();
    assert_eq!(source.assigned(ResumeAt::Committed).await, [0], "once, and only this partition");
    // Said too late: it is of the assignment that was given back.
    source.acknowledge(&third).await;
    let mut again = Vec::new();
    while again.len() < 7 {
        let batch = source.batch(100).await;
        again.extend(batch.records);
    }
    assert_eq!(numbers(&again), (3..10).collect::<Vec<_>>());
    fixture.until_committed(0, &[3]).await;

    // A store that was rolled back has the last word.
    let batch_tag = {
        fill(&fixture, 10..11).await;
        source.batch(1).await.tag
    };
    source.acker.give_back(0, batch_tag).await.unwrap();
    source.assigned(ResumeAt::Behind(cursor(&[(id, 0)]))).await;
    assert_eq!(offset(&source.records(1).await[0]), 1);
    source.close().await;
}

/// Reads and acknowledges `count` records.
async fn work(source: &mut Driven, count: usize) -> Vec<u64> {
    let mut seen = Vec::new();
    while seen.len() < count {
        let batch = source.batch(count - seen.len()).await;
        source.acknowledge(&batch).await;
        seen.extend(numbers(&batch.records));
    }
    seen
}

#[tokio::test]
async fn a_killed_source_gets_its_partitions_back_at_once() {
    let fixture = Fixture::new(1, 1);
    fixture.create_topics().await;
    fill(&fixture, 0..20).await;
    let options = Options { session_timeout: Some("60s"), ..Options::default() };
    let mut killed = fixture.build(options).await.unwrap();
    killed.assigned(ResumeAt::Committed).await;
    assert_eq!(work(&mut killed, 10).await, (0..10).collect::<Vec<_>>());
    fixture.until_committed(0, &[10]).await;
    // Without a close, as after a kill: the group still waits for the member.
    drop(killed);

    let since = Instant::now();
    let mut source = fixture.build(options).await.unwrap();
    source.assigned(ResumeAt::Committed).await;
    assert_eq!(work(&mut source, 10).await, (10..20).collect::<Vec<_>>());
    assert!(since.elapsed() < Duration::from_secs(30), "it did not wait for the session to run out");
    source.close().await;
}

#[tokio::test]
async fn a_second_source_with_the_same_name_takes_over_and_the_first_says_so() {
    let fixture = Fixture::new(1, 1);
    fixture.create_topics().await;
    fill(&fixture, 0..2).await;
    let mut first = fixture.start().await;
    first.assigned(ResumeAt::Committed).await;
    first.records(2).await;
    let mut second = fixture.start().await;
    second.assigned(ResumeAt::Committed).await;
    let error = loop {
        match first.next(10).await {
            // It may hear that its partitions went before it hears why.
            Ok(SourceEvent::Revoked { done, .. }) => drop(done.send(())),
            Ok(other) => panic!("expected a failure, not {other:?}"),
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("another member of its name"), "{error}");
    assert_eq!(numbers(&second.records(2).await), [0, 1]);
    second.close().await;
}
