//! The order in which records, marks and unfit messages come.

use std::time::Duration;

use telemill_engine::record::{Kind, Reason};
use telemill_engine::source::{Acker, ResumeAt};

use super::driven::{number, numbers, offset};
use super::fixture::Fixture;

const START: u64 = 1_700_000_000_000;

#[tokio::test]
async fn three_topics_are_merged_by_time() {
    let fixture = Fixture::new(3, 1);
    fixture.create_topics().await;
    // Number n was received at n; each topic by itself is in order, and one is much longer than the others.
    for n in 0..400 {
        let topic = match n % 100 {
            7 => 1,
            50 | 51 => 2,
            _ => 0,
        };
        fixture.produce(&fixture.topics[topic], 0, n, START + n).await;
    }
    let mut source = fixture.start().await;
    assert_eq!(source.assigned(ResumeAt::Committed).await, [0]);
    assert_eq!(numbers(&source.records(400).await), (0..400).collect::<Vec<_>>());

    // At the end of all topics nothing is waited for any more.
    fixture.produce(&fixture.topics[2], 0, 400, START + 400).await;
    assert_eq!(numbers(&source.records(1).await), [400]);
    source.close().await;
}

#[tokio::test]
async fn partitions_follow_the_first_topic_and_do_not_wait_for_each_other() {
    let fixture = Fixture::new(2, 3);
    let ids = fixture.create_topics().await;
    for partition in 0..3 {
        for (n, topic) in [(0, 0), (1, 1), (2, 0), (3, 1)] {
            fixture.produce(&fixture.topics[topic], partition, n, START + n).await;
        }
    }
    let mut source = fixture.start().await;
    let mut partitions = source.assigned(ResumeAt::Committed).await;
    partitions.sort_unstable();
    assert_eq!(partitions, [0, 1, 2]);
    let mut seen = [const { Vec::new() }; 3];
    while seen.iter().map(Vec::len).sum::<usize>() < 12 {
        let batch = source.batch(2).await;
        for record in &batch.records {
            let position = record.position.unwrap();
            assert_eq!(position.partition, batch.partition);
            let topic = (number(record) % 2) as usize;
            assert_eq!(position.topic, ids[&fixture.topics[topic]]);
        }
        seen[batch.partition as usize].extend(numbers(&batch.records));
    }
    assert_eq!(seen, [[0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3]]);
    source.close().await;
}

#[tokio::test]
async fn a_mark_is_held_until_what_it_waits_for_is_out() {
    let fixture = Fixture::new(2, 1).with_marks();
    let ids = fixture.create_topics().await;
    let (a, b) = (&fixture.topics[0], &fixture.topics[1]);
    fixture.produce(a, 0, 0, START).await;
    fixture.produce(b, 0, 1, START + 1).await;
    // Emitted before record 3 was received, and delivered with records that came later than it.
    fixture.produce_mark(0, START + 2, &[(a, 1), (b, 0), ("elsewhere", 9)]).await;
    fixture.produce(a, 0, 3, START + 3).await;

    let mut source = fixture.start().await;
    source.assigned(ResumeAt::Committed).await;
    let records = source.records(4).await;
    let kinds: Vec<_> = records.iter().map(|record| record.kind.clone()).collect();
    assert_eq!(kinds, [Kind::Data, Kind::Data, Kind::Data, Kind::Mark]);
    let mark = records.last().unwrap();
    let position = mark.position.unwrap();
    assert_eq!((position.topic, position.offset), (ids[fixture.marks.as_deref().unwrap()], 0));
    assert_eq!(mark.received_at.0, START + 2);
    let body: serde_json::Value = serde_json::from_slice(&mark.payload).unwrap();
    assert_eq!((&body["slot"], &body["time"]), (&0.into(), &(START + 2).into()));

    // Live: the mark is there first, and waits for the record that it names.
    fixture.produce_mark(0, START + 5, &[(a, 2), (b, 1)]).await;
    assert!(source.within(Duration::from_secs(1)).await.is_none(), "nothing but a mark that has to wait");
    fixture.produce(b, 0, 5, START + 4).await;
    assert_eq!(numbers(&source.records(1).await), [5]);
    assert!(source.within(Duration::from_secs(1)).await.is_none(), "one topic is not enough");
    fixture.produce(a, 0, 4, START + 4).await;
    let last = source.records(2).await;
    assert_eq!(number(&last[0]), 4);
    assert_eq!(last[1].kind, Kind::Mark);
    source.close().await;
}

#[tokio::test]
async fn what_is_no_record_is_rejected_with_its_bytes_and_its_position() {
    let fixture = Fixture::new(1, 1).with_marks();
    fixture.create_topics().await;
    let topic = &fixture.topics[0];
    fixture.produce(topic, 0, 0, START).await;
    fixture.produce_raw(topic, 0, b"\xffnot json", "data", START + 1).await;
    fixture.produce(topic, 0, 2, START + 2).await;
    let marks = fixture.marks.as_deref().unwrap();
    fixture.produce_raw(marks, 0, br#"{"v":1}"#, "mark", START + 3).await;

    let mut source = fixture.start().await;
    source.assigned(ResumeAt::Committed).await;
    let (mut records, mut rejected, mut last) = (Vec::new(), Vec::new(), None);
    while records.len() + rejected.len() < 4 {
        let batch = source.batch(100).await;
        last = Some((batch.partition, batch.tag));
        records.extend(batch.records);
        rejected.extend(batch.rejected);
    }
    assert_eq!(numbers(&records), [0, 2]);
    let [unfit, mark] = rejected.as_slice() else { panic!("{rejected:?}") };
    assert_eq!(&unfit.record.payload[..], b"\xffnot json");
    assert_eq!((unfit.why.reason, offset(&unfit.record)), (Reason::BAD_ENVELOPE, 1));
    assert_eq!(unfit.why.source, format!("{topic}/0/1"));
    assert_eq!(&*unfit.why.stage, fixture.stage);
    assert_eq!(&mark.record.payload[..], br#"{"v":1}"#);
    assert_eq!(mark.why.source, format!("{marks}/0/0"));

    // They are done with when the batch is, like any other.
    source.acker.acknowledge(vec![last.unwrap()]).await.unwrap();
    fixture.until_committed(0, &[3, 1]).await;
    source.close().await;
}

#[tokio::test]
async fn a_record_in_another_partition_than_its_device_is_refused() {
    let fixture = Fixture::new(1, 3);
    fixture.create_topics().await;
    let topic = &fixture.topics[0];
    let (home, away) = (fixture.device_of(1), fixture.device_of(2));
    fixture.produce_keyless(topic, 1, &home).await;
    fixture.produce_keyless(topic, 1, &away).await;
    // One with a key, put there by another partitioner, is no better.
    let value = format!(r#"{{"device_id":"{away}","payload":{{"n":1}}}}"#);
    fixture.produce_keyed(topic, 1, &away, &value).await;
    fixture.produce(topic, 1, 2, START).await;

    let mut source = fixture.start().await;
    source.assigned(ResumeAt::Committed).await;
    let (mut records, mut rejected) = (Vec::new(), Vec::new());
    while records.len() + rejected.len() < 4 {
        let batch = source.batch(100).await;
        records.extend(batch.records);
        rejected.extend(batch.rejected);
    }
    assert_eq!(numbers(&records), [0, 2]);
    assert!(records.iter().all(|record| record.device.as_str() == home));
    for (refused, offset) in rejected.iter().zip(1..) {
        assert_eq!(refused.why.reason, Reason::WRONG_PARTITION);
        assert_eq!(refused.record.device.as_str(), away, "the dead letter's key");
        let detail = &*refused.why.detail;
        assert!(
            detail.contains(&away) && detail.contains("partition 2 of 3") && detail.contains("is in 1"),
            "{detail}"
        );
        assert_eq!(refused.why.source, format!("{topic}/1/{offset}"));
        assert!(refused.record.payload.starts_with(br#"{"device_id""#), "the whole message");
    }
    assert_eq!(rejected.len(), 2);
    source.close().await;
}
