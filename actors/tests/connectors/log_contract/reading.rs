//! What a source gives out, and in which order.

use serde_json::json;
use telemill_engine::clock::Timestamp;
use telemill_engine::record::{Kind as Word, Record};
use telemill_engine::sink::Sink;
use telemill_engine::source::ResumeAt;
use telemill_engine::testing::record;

use super::drive::{numbers, offset};
use super::{Kind, Place};
use crate::kafka_support::{batch, delivered};

fn at(number: usize, time: u64, kind: &str) -> Record {
    let mut record = record("d1", number);
    record.received_at = Timestamp(time);
    record.kind = kind.into();
    record
}

pub async fn topics_are_merged_by_arrival<K: Kind>() {
    let mut place = Place::<K>::new();
    let (data, hello) = (place.topic("data", 1), place.topic("hello", 1));
    let mut router = place.router(json!({ "connection": "log", "routes": { "data": data, "hello": hello } })).await;
    let records = vec![
        at(1, 100, "data"),
        at(2, 300, "data"),
        // Goes back in time: it stands where the one before it stands.
        at(3, 200, "data"),
        at(4, 50, "hello"),
        at(5, 300, "hello"),
        at(6, 400, "hello"),
    ];
    delivered(router.submit(batch(records)).await).await;
    for group in ["one", "two"] {
        let mut source = place.source(&[&data, &hello], group).await;
        source.assigned(ResumeAt::Committed).await;
        assert_eq!(numbers(&source.records(6).await), [4, 1, 2, 3, 5, 6]);
        source.close().await;
    }
}

pub async fn a_mark_comes_behind_what_it_vouches_for<K: Kind>() {
    let mut place = Place::<K>::new();
    let (data, marks) = (place.topic("data", 1), place.topic("marks", 1));
    place.marks = Some(marks);
    let mut router = place.router_to(&data).await;
    let mark = |number: usize, time: u64| {
        let mut mark = at(number, time, "mark");
        mark.device = "-".parse().unwrap();
        let session = "00000000010000000000000002";
        mark.payload = format!(r#"{{"slot":0,"slot_session":"{session}","since":0,"time":{time}}}"#).into();
        mark
    };
    // The clock of the mark is behind that of the records, so it alone would put it first.
    let records = vec![at(1, 5000, "data"), at(2, 6000, "data"), mark(3, 1000), at(4, 7000, "data"), mark(5, 2000)];
    delivered(router.submit(batch(records)).await).await;
    let mut source = place.source(&[&data], "readers").await;
    source.assigned(ResumeAt::Committed).await;
    let read = source.records(5).await;
    let kinds: Vec<_> = read.iter().map(|record| record.kind.clone()).collect();
    assert_eq!(kinds, [Word::Data, Word::Data, Word::Mark, Word::Data, Word::Mark]);
    let delivered = |record: &Record| {
        let mark: serde_json::Value = serde_json::from_slice(&record.payload).unwrap();
        mark["delivered"][&data].as_i64().unwrap()
    };
    assert_eq!((delivered(&read[2]), delivered(&read[4])), (1, 2));
}

pub async fn what_comes_later_is_given_out_without_being_asked_for_again<K: Kind>() {
    let mut place = Place::<K>::new();
    let topic = place.topic("data", 2);
    let mut source = place.source(&[&topic], "readers").await;
    source.assigned(ResumeAt::Committed).await;
    let mut router = place.router_to(&topic).await;
    for number in 0..20 {
        let asked = source.records(1);
        let write = async { delivered(router.submit(batch(vec![record("d1", number)])).await).await };
        let (read, ()) = tokio::join!(asked, write);
        assert_eq!(numbers(&read), [number as u64]);
    }
    source.close().await;
}

pub async fn batches_name_what_came_before<K: Kind>() {
    let mut place = Place::<K>::new();
    let topic = place.topic("data", 1);
    let mut router = place.router_to(&topic).await;
    delivered(router.submit(batch((0..10).map(|n| record("d1", n)).collect())).await).await;
    let mut source = place.source(&[&topic], "readers").await;
    source.assigned(ResumeAt::Committed).await;
    let mut before: Option<(i64, u32)> = None;
    let mut seen = 0;
    while seen < 10 {
        let batch = source.batch(3).await;
        assert!(batch.records.len() <= 3);
        let previous = batch.previous.first().map(|(_, offset, output)| (*offset, *output));
        assert_eq!(previous, before);
        before = batch.records.last().map(|record| (offset(record), 0));
        seen += batch.records.len();
    }
}
