//! Where reading begins, what is committed, and what stops a source.

use std::collections::BTreeMap;

use telemill_engine::position::{Cursor, TopicId, TopicOffset};
use telemill_engine::sink::Sink;
use telemill_engine::source::{Acker, ResumeAt, SourceError, SourceEvent};
use telemill_engine::stage::BuildError;
use telemill_engine::testing::record;

use super::drive::numbers;
use super::{Kind, Place};
use crate::kafka_support::{batch, delivered};

/// A topic of one partition with records 0 to 9 of one device, and its id.
async fn ten_records<K: Kind>() -> (Place<K>, String, TopicId) {
    let mut place = Place::<K>::new();
    let topic = place.topic("data", 1);
    let mut router = place.router_to(&topic).await;
    delivered(router.submit(batch((0..10).map(|n| record("d1", n)).collect())).await).await;
    let mut source = place.source(&[&topic], "looks").await;
    source.assigned(ResumeAt::Committed).await;
    let id = source.records(1).await[0].position.unwrap().topic;
    source.close().await;
    (place, topic, id)
}

fn behind(topic: TopicId, offset: i64) -> ResumeAt {
    ResumeAt::Behind(Cursor(vec![TopicOffset { topic, offset }]))
}

pub async fn what_is_acknowledged_is_not_read_again<K: Kind>() {
    let (place, topic, _) = ten_records::<K>().await;
    let mut source = place.source(&[&topic], "readers").await;
    source.assigned(ResumeAt::Committed).await;
    assert_eq!(numbers(&source.records(4).await), [0, 1, 2, 3]);
    // Given out, and never acknowledged.
    let _unsafe = source.batch(3).await;
    source.close().await;

    let mut source = place.source(&[&topic], "readers").await;
    source.assigned(ResumeAt::Committed).await;
    assert_eq!(numbers(&source.records(6).await), [4, 5, 6, 7, 8, 9]);
    source.close().await;

    let mut other = place.source(&[&topic], "others").await;
    other.assigned(ResumeAt::Committed).await;
    assert_eq!(numbers(&other.records(10).await).len(), 10, "each group has its own cursor");
    other.close().await;
}

pub async fn the_lowest_position_decides_where_to_begin<K: Kind>() {
    let (place, topic, id) = ten_records::<K>().await;
    let mut source = place.source(&[&topic], "readers").await;
    source.assigned(ResumeAt::Committed).await;
    source.records(6).await;
    source.close().await;
    let check = async |resume_at: ResumeAt, first: u64| {
        let mut source = place.source(&[&topic], "readers").await;
        source.assigned(resume_at).await;
        let batch = source.batch(1).await;
        assert_eq!(numbers(&batch.records), [first]);
        source.close().await;
    };
    check(behind(id, 8), 6).await;
    check(behind(id, 2), 3).await;
    check(ResumeAt::Behind(Cursor::default()), 0).await;
}

pub async fn what_is_given_back_is_read_again<K: Kind>() {
    let (place, topic, _) = ten_records::<K>().await;
    let mut source = place.source(&[&topic], "readers").await;
    source.assigned(ResumeAt::Committed).await;
    assert_eq!(numbers(&source.records(3).await), [0, 1, 2]);
    let lost = source.batch(2).await;
    source.acker.give_back(lost.partition, lost.tag).await.unwrap();
    loop {
        match source.next(2).await.unwrap() {
            SourceEvent::Batch(_) => {}
            SourceEvent::Assigned { partitions, reply } => {
                assert_eq!(partitions, [0]);
                reply.send(vec![(0, ResumeAt::Committed)]).unwrap();
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    // What is said late of the batch before changes nothing.
    source.acknowledge(&lost).await;
    let again = source.batch(10).await;
    assert!(again.previous.is_empty(), "the first since the assignment");
    assert_eq!(numbers(&again.records)[0], 3);
    source.close().await;
}

pub async fn what_is_no_longer_retained_follows_the_policy<K: Kind>() {
    let (place, topic, _) = ten_records::<K>().await;
    let mut source = place.source(&[&topic], "readers").await;
    source.assigned(ResumeAt::Committed).await;
    source.records(4).await;
    source.close().await;
    K::remove_all(&place, &topic, 0).await;
    let mut router = place.router_to(&topic).await;
    delivered(router.submit(batch(vec![record("d1", 10)])).await).await;

    let mut source = place.source(&[&topic], "readers").await;
    source.assigned(ResumeAt::Committed).await;
    match source.failure().await {
        SourceError::Broken(why) => assert!(why.contains("offsets 4 to 9 are no longer retained"), "{why}"),
        other => panic!("{other:?}"),
    }
    source.close().await;

    let mut source = place.try_source(&[&topic], "readers", "earliest").await.unwrap();
    source.assigned(ResumeAt::Committed).await;
    let read = source.records(1).await;
    assert_eq!((numbers(&read), read[0].position.unwrap().offset), (vec![10], 10), "offsets go on");
    source.close().await;

    let mut new = place.source(&[&topic], "new").await;
    new.assigned(ResumeAt::Committed).await;
    assert_eq!(numbers(&new.records(1).await), [10], "who never had anything misses nothing");
    new.close().await;
}

pub async fn a_position_behind_the_end_stops_the_source<K: Kind>() {
    let (place, topic, id) = ten_records::<K>().await;
    let mut source = place.source(&[&topic], "readers").await;
    source.assigned(behind(id, 40)).await;
    match source.failure().await {
        SourceError::Broken(why) => assert!(why.contains("the log ends at 10"), "{why}"),
        other => panic!("{other:?}"),
    }
}

pub async fn another_number_of_partitions_is_refused<K: Kind>() {
    let (mut place, topic, _) = ten_records::<K>().await;
    let other = place.topic("other", 2);
    let refused = place.try_source(&[&topic, &other], "readers", "fail").await.map(drop);
    assert!(matches!(&refused, Err(BuildError::Impossible(why)) if why.contains("the leading topic")), "{refused:?}");
    place.topics.declared = BTreeMap::new();
    place.declare(topic.clone(), 3);
    let refused = place.try_source(&[&topic], "readers", "fail").await.map(drop);
    let expect = "has 1 partitions, but 3 are declared";
    assert!(matches!(&refused, Err(BuildError::Impossible(why)) if why.contains(expect)), "{refused:?}");
}
