use super::*;
use bytes::Bytes;
use std::time::Duration;
use telemill_engine::clock::Timestamp;
use telemill_engine::context::{CheckContext, Connection, Connections, Topics};
use telemill_engine::peers::Peers;
use telemill_engine::position::TopicId;
use telemill_engine::record::{EventId, Kind, Record};
use ulid::Ulid;
use uuid::Uuid;

use crate::kafka::connection::KafkaConnection;
use crate::log::reading::{Reading, Topic};
use crate::log::resume::Resume;

#[test]
fn the_member_says_how_it_stands_with_its_group() {
    let config = shared().setup.group_client();
    assert_eq!(config.get("statistics.interval.ms"), Some("5000"));
}

/// A source of one topic that no thread works for.
fn shared() -> Shared {
    let mut problems = Vec::new();
    let mut cx = CheckContext {
        name: "log",
        inputs: &[],
        connections: &Connections::new(),
        topics: &Topics::default(),
        problems: &mut problems,
    };
    let spec = serde_json::from_str(r#"{"brokers":["127.0.0.1:9092"]}"#).unwrap();
    Shared::new(Setup {
        connection: KafkaConnection::check(spec, &mut cx).unwrap().into(),
        brokers: Peers::default().peer("kafka"),
        reading: Reading {
            topology: "test".into(),
            stage: "events".into(),
            topics: vec![Topic { name: "iot-data".into(), id: TopicId(Uuid::from_u128(1)) }],
            has_marks: false,
            resume: Resume::Fail,
            partitions: 1,
        },
        group: "group".to_owned(),
        partitions: 1,
        session_timeout: Duration::from_secs(45),
        fetch_max: 32 * 1024 * 1024,
        fences: Default::default(),
    })
}

fn item(offset: i64) -> Item {
    let record = Record::new(EventId(Ulid::nil()), "d1".parse().unwrap(), Kind::Data, Bytes::new(), Timestamp(0));
    Item { topic: 0, offset, weight: record.weight(), body: Ok(record) }
}

/// Assigns partition 0, lets it begin at `start`, and puts `count` records in.
fn begun(shared: &Shared, start: i64, count: i64) -> Generation {
    shared.assigned(&[0]);
    let generation = shared.take_asked().pop().unwrap().partitions[0].1;
    assert!(matches!(shared.next(1), Some(Ok(SourceEvent::Assigned { .. }))));
    shared.plan(0, Plan { generation, lanes: vec![(start, start)] });
    shared.put(vec![(0, generation, (start..start + count).map(item).collect())]);
    generation
}

fn batch(shared: &Shared) -> SourceBatch {
    match shared.next(1) {
        Some(Ok(SourceEvent::Batch(batch))) => batch,
        other => panic!("expected a batch, not {other:?}"),
    }
}

fn to_commit(shared: &Shared) -> Vec<Vec<i64>> {
    shared.to_commit(false).into_iter().map(|commit| commit.offsets).collect()
}

#[test]
fn a_batch_given_back_has_the_partition_assigned_anew_once() {
    let shared = shared();
    let generation = begun(&shared, 5, 3);
    let [first, second] = [batch(&shared), batch(&shared)];
    shared.acknowledge(vec![(0, first.tag)]);
    shared.give_back(0, second.tag);
    shared.give_back(0, second.tag);
    assert!(shared.plans().is_empty(), "it is not read until it is known where to begin");
    assert_eq!(shared.safe_before(0), Some(vec![6]));
    let asked = shared.take_asked();
    assert_eq!(asked.len(), 1);
    assert!(matches!(shared.next(9), Some(Ok(SourceEvent::Assigned { .. }))));
    assert!(shared.next(9).is_none(), "what was read before is gone");

    shared.put(vec![(0, generation, vec![item(8)])]);
    shared.plan(0, Plan { generation, lanes: vec![(9, 9)] });
    assert!(shared.next(9).is_none() && shared.plans().is_empty(), "what comes late from before counts no more");
    shared.plan(0, Plan { generation: asked[0].partitions[0].1, lanes: vec![(6, 6)] });
    assert!(!shared.plans().is_empty());
}

#[test]
fn a_partition_that_leaves_is_acknowledged_to_the_end_but_not_read_again() {
    let shared = shared();
    begun(&shared, 0, 3);
    let [first, second] = [batch(&shared), batch(&shared)];
    let mut drained = shared.leaving(&[0]).expect("the engine has it");
    assert!(shared.plans().is_empty());
    let Some(Ok(SourceEvent::Revoked { partitions, done })) = shared.next(9) else { panic!("it was not told") };
    assert_eq!(partitions, [0]);
    shared.acknowledge(vec![(0, first.tag)]);
    shared.give_back(0, second.tag);
    assert!(shared.next(9).is_none() && shared.take_asked().is_empty());
    done.send(()).unwrap();
    assert!(drained.try_recv().is_ok());
    assert_eq!(to_commit(&shared), [[1]]);
    shared.gone(&[0]);
    shared.acknowledge(vec![(0, second.tag)]);
    assert_eq!(to_commit(&shared), [[0; 0]; 0]);
}

#[test]
fn a_partition_that_comes_and_goes_unheard_has_nothing_to_drain() {
    let shared = shared();
    shared.assigned(&[0]);
    assert!(shared.leaving(&[0]).is_none());
    assert!(shared.next(9).is_none());
}

#[test]
fn the_first_failure_counts_and_comes_before_all_else() {
    let shared = shared();
    let generation = begun(&shared, 0, 3);
    shared.fail(SourceError::Broken("first".to_owned()));
    shared.fail(SourceError::Unavailable("second".to_owned()));
    for _ in 0..2 {
        assert!(matches!(shared.next(9), Some(Err(SourceError::Broken(why))) if why == "first"));
    }
    shared.plan(0, Plan { generation, lanes: vec![(0, 0)] });
    assert!(shared.plans().is_empty(), "nothing is read any more");
}

#[test]
fn the_source_ends_when_it_is_stopped() {
    let shared = shared();
    begun(&shared, 0, 3);
    shared.stop();
    assert!(matches!(shared.next(9), Some(Ok(SourceEvent::End))));
}
