//! Where reading begins, and when it cannot.

use telemill_engine::source::{Acker, ResumeAt, SourceError, SourceEvent};

use super::driven::{Driven, cursor, number, numbers, offset};
use super::fixture::{DEADLINE, Fixture, Options};

const START: u64 = 1_700_000_000_000;

async fn fill(fixture: &Fixture, topic: usize, count: u64) {
    for n in 0..count {
        fixture.produce(&fixture.topics[topic], 0, n, START + n).await;
    }
}

/// Has the group commit `done` as the next offset of the first topic.
async fn commit(fixture: &Fixture, done: usize) {
    let mut source = fixture.start().await;
    source.assigned(ResumeAt::Committed).await;
    let batch = source.batch(done).await;
    assert_eq!(batch.records.len(), done);
    source.acknowledge(&batch).await;
    source.close().await;
}

async fn first_offset(source: &mut Driven) -> i64 {
    offset(&source.records(1).await[0])
}

#[tokio::test]
async fn the_lower_of_cursor_and_commit_wins_topic_by_topic() {
    let fixture = Fixture::new(2, 1);
    let ids = fixture.create_topics().await;
    let [a, b] = [0, 1].map(|topic| ids[&fixture.topics[topic]]);
    fill(&fixture, 0, 10).await;
    commit(&fixture, 6).await;
    // Later than all of the other topic, so that what comes first is of that one.
    fixture.produce(&fixture.topics[1], 0, 99, START + 99).await;
    let check = async |cursor_of: &[(telemill_engine::position::TopicId, i64)], expect: i64| {
        let mut source = fixture.start().await;
        source.assigned(ResumeAt::Behind(cursor(cursor_of))).await;
        assert_eq!(first_offset(&mut source).await, expect, "{cursor_of:?}");
        // Nothing was acknowledged, yet what is committed follows down to where everything is safe.
        source.close().await;
        assert_eq!(fixture.committed(0), [Some(expect), Some(0)], "{cursor_of:?}");
    };
    check(&[(a, 8)], 6).await;
    check(&[(a, 3), (b, 0)], 4).await;
    check(&[(a, 8)], 4).await;
    check(&[(b, 0)], 0).await;
}

#[tokio::test]
async fn what_is_no_longer_retained_stops_the_source_or_is_skipped() {
    let fixture = Fixture::new(1, 1);
    let id = fixture.create_topics().await[&fixture.topics[0]];
    fill(&fixture, 0, 10).await;
    commit(&fixture, 2).await;
    fixture.delete_before(&fixture.topics[0], 0, 5).await;

    for resume_at in [ResumeAt::Committed, ResumeAt::Behind(cursor(&[(id, 8)])), ResumeAt::Behind(cursor(&[(id, 1)]))] {
        let mut source = fixture.start().await;
        source.assigned(resume_at).await;
        let error = source.failure().await;
        let SourceError::Broken(why) = &error else { panic!("{error:?}") };
        assert!(why.contains(&fixture.topics[0]) && why.contains("partition 0"), "{why}");
        assert!(why.contains("offsets 2 to 4") && why.contains("earliest is 5"), "{why}");
    }
    let options = Options { resume: Some("earliest"), ..Options::default() };
    let mut source = fixture.build(options).await.unwrap();
    source.assigned(ResumeAt::Committed).await;
    assert_eq!(first_offset(&mut source).await, 5);
    source.close().await;
}

#[tokio::test]
async fn a_beginning_is_no_gap() {
    let fixture = Fixture::new(1, 1);
    fixture.create_topics().await;
    fill(&fixture, 0, 10).await;
    fixture.delete_before(&fixture.topics[0], 0, 5).await;
    let mut source = fixture.start().await;
    source.assigned(ResumeAt::Behind(cursor(&[]))).await;
    assert_eq!(first_offset(&mut source).await, 5);
    source.close().await;
}

#[tokio::test]
async fn retention_that_overtakes_what_is_read_again_is_a_gap() {
    let fixture = Fixture::new(1, 1);
    fixture.create_topics().await;
    fill(&fixture, 0, 3).await;
    let mut source = fixture.start().await;
    source.assigned(ResumeAt::Committed).await;
    let first = source.batch(1).await;
    source.acknowledge(&first).await;
    fixture.until_committed(0, &[1]).await;
    let second = source.batch(1).await;
    source.acker.give_back(0, second.tag).await.unwrap();
    fixture.delete_before(&fixture.topics[0], 0, 2).await;
    source.assigned(ResumeAt::Committed).await;
    let error = source.failure().await;
    assert!(error.to_string().contains("offsets 1 to 1"), "{error}");
}

#[tokio::test]
async fn retention_that_overtakes_the_source_while_it_reads_is_a_gap() {
    for resume in ["fail", "earliest"] {
        let fixture = Fixture::new(1, 1);
        fixture.create_topics().await;
        // More than is fetched ahead, so that the source has yet to read what is deleted.
        fixture.fill(0..5000, 2000).await;
        let options = Options { resume: Some(resume), fetch_max: Some("4MiB"), ..Options::default() };
        let mut source = fixture.build(options).await.unwrap();
        source.assigned(ResumeAt::Committed).await;
        let first = source.batch(10).await;
        assert_eq!(first.records.len(), 10);
        source.acknowledge(&first).await;
        fixture.delete_before(&fixture.topics[0], 0, 4990).await;
        // What was fetched is still good; then the engine is asked again where to begin.
        let mut next = 10;
        let (partitions, reply) = loop {
            match source.next(1000).await.unwrap() {
                SourceEvent::Batch(batch) => {
                    assert_eq!(numbers(&batch.records), (next..next + batch.records.len() as u64).collect::<Vec<_>>());
                    next += batch.records.len() as u64;
                }
                SourceEvent::Assigned { partitions, reply } => break (partitions, reply),
                other => panic!("expected records, then an assignment, not {other:?}"),
            }
        };
        assert!(next < 4990);
        reply.send(vec![(partitions[0], ResumeAt::Committed)]).unwrap();
        if resume == "fail" {
            let error = source.failure().await;
            assert!(error.to_string().contains("offsets 10 to 4989"), "{error}");
        } else {
            assert_eq!(numbers(&source.records(10).await), (4990..5000).collect::<Vec<_>>());
            source.close().await;
        }
    }
}

#[tokio::test]
async fn a_log_that_lost_its_end_stops_the_source() {
    let fixture = Fixture::new(1, 1);
    let id = fixture.create_topics().await[&fixture.topics[0]];
    fill(&fixture, 0, 3).await;
    let options = Options { resume: Some("earliest"), ..Options::default() };
    let mut source = fixture.build(options).await.unwrap();
    source.assigned(ResumeAt::Behind(cursor(&[(id, 7)]))).await;
    let error = source.failure().await;
    assert!(matches!(&error, SourceError::Broken(why) if why.contains("lost its end")), "{error:?}");
}

#[tokio::test]
async fn a_topic_that_was_made_again_stops_the_source() {
    let fixture = Fixture::new(2, 1);
    let before = fixture.create_topics().await;
    fill(&fixture, 0, 1).await;
    let mut source = fixture.start().await;
    source.assigned(ResumeAt::Committed).await;
    assert_eq!(number(&source.records(1).await[0]), 0);
    let recreated = &fixture.topics[1];
    fixture.delete_topic(recreated).await;
    telemill_services::eventually(DEADLINE, "the topic to be made again", async || {
        let now = fixture.try_create_topics().await.ok()?;
        (now[recreated] != before[recreated]).then_some(())
    })
    .await;
    let error = source.failure().await;
    assert!(matches!(&error, SourceError::Broken(why) if why.contains(recreated)), "{error:?}");
    drop(source);

    // What remembers the topic as it was has its offsets in another log.
    let mut source = fixture.start().await;
    let remembered = before.values().map(|id| (*id, 0)).collect::<Vec<_>>();
    source.assigned(ResumeAt::Behind(cursor(&remembered))).await;
    let error = source.failure().await;
    assert!(matches!(&error, SourceError::Broken(why) if why.contains("made again")), "{error:?}");
}

#[tokio::test]
async fn topics_of_unlike_partitions_are_not_read() {
    let mut fixture = Fixture::new(1, 3);
    fixture.create_topics().await;
    let other = Fixture::new(1, 2);
    other.create_topics().await;
    fixture.topics.extend(other.topics);
    let Err(error) = fixture.build(Options::default()).await else { panic!("it was built") };
    assert!(error.to_string().contains("partitions"), "{error}");
}
