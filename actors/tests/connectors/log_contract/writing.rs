//! What is delivered is in the log, in order and once.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use serde_json::json;
use telemill_engine::record::{DeadReason, Kind as Word, Reason, Record};
use telemill_engine::sink::{Sink, Submitted};
use telemill_engine::source::ResumeAt;
use telemill_engine::testing::{number_of, record};
use ulid::Ulid;

use super::drive::{numbers, numbers_of};
use super::{Kind, Place};
use crate::kafka_support::{answer, batch, delivered, of_kind, partition_of, produced};

pub async fn what_is_delivered_is_read_in_order<K: Kind>() {
    let mut place = Place::<K>::new();
    let topic = place.topic("data", 3);
    let mut router = place.router_to(&topic).await;
    let session = Ulid::from_parts(1, 1);
    let sent: Vec<_> = (1..=600).map(|n| produced(&format!("d{}", n % 7), session, n)).collect();
    let mut in_flight = Vec::new();
    for chunk in sent.chunks(50) {
        while in_flight.len() >= router.window() {
            delivered(in_flight.remove(0)).await;
        }
        in_flight.push(router.submit(batch(chunk.to_vec())).await);
    }
    for completion in in_flight {
        delivered(completion).await;
    }

    let mut source = place.source(&[&topic], "readers").await;
    let mut partitions = source.assigned(ResumeAt::Committed).await;
    partitions.sort_unstable();
    assert_eq!(partitions, [0, 1, 2]);
    let read = source.records(600).await;
    for device in 0..7 {
        let device = format!("d{device}");
        assert_eq!(numbers_of(&read, &device), numbers_of(&sent, &device));
    }
    let mut next = [0; 3];
    for record in &read {
        let position = record.position.unwrap();
        assert_eq!(position.partition, partition_of(record.device.as_str(), 3));
        assert_eq!(position.offset, next[position.partition as usize], "nothing before it, and no holes");
        next[position.partition as usize] += 1;
        let was = &sent[number_of(record) as usize - 1];
        assert_eq!((record.id, &record.kind, record.received_at), (was.id, &was.kind, was.received_at));
        assert_eq!((record.origin, &record.payload), (was.origin, &was.payload));
    }
    source.close().await;
}

pub async fn records_at_fault_are_named_and_their_neighbours_delivered<K: Kind>() {
    let mut place = Place::<K>::new();
    let topic = place.topic("data", 1);
    place.topics.declared.get_mut(&topic).unwrap().max_message_bytes = Some(50_000);
    let mut router = place.router(json!({ "connection": "log", "routes": { "data": topic } })).await;
    let mut large = record("d1", 3);
    large.payload = format!("\"{}\"", "x".repeat(100_000)).into();
    let records = vec![record("d1", 1), of_kind(record("d1", 2), "status"), large, record("d1", 4)];
    let rejected = match answer(router.submit(batch(records)).await).await {
        Submitted::Rejected { records, others_applied: true } => records,
        other => panic!("{other:?}"),
    };
    let named: Vec<_> = rejected.iter().map(|r| (r.index, r.reason, r.permanent)).collect();
    assert_eq!(named, [(1, Reason("no_route"), true), (2, Reason::TOO_LARGE, true)]);
    let mut source = place.source(&[&topic], "readers").await;
    source.assigned(ResumeAt::Committed).await;
    assert_eq!(numbers(&source.records(2).await), [1, 4]);
}

pub async fn a_rebuild_writes_nothing_twice<K: Kind>() {
    let mut place = Place::<K>::new();
    let topic = place.topic("data", 3);
    let checked = place.check::<K::Router>(json!({ "connection": "log", "topic": topic }));
    let mut router: K::Router = place.build(&checked).await.unwrap();
    let batches: Vec<_> =
        (0..5).map(|b| batch((0..20).map(|n| record(&format!("d{}", n % 3), b * 20 + n)).collect())).collect();
    let mut answers = Vec::new();
    for batch in &batches {
        answers.push(router.submit(batch.clone()).await);
    }
    delivered(answers.remove(0)).await;
    // As after a panic: nobody closes, and the engine hears what was answered by then; the rest it submits again.
    drop(router);
    let heard: Vec<bool> =
        answers.into_iter().map(|answer| matches!(answer.now_or_never(), Some(Submitted::Delivered))).collect();
    let mut router: K::Router = place.build(&checked).await.unwrap();
    for (batch, _) in batches[1..].iter().zip(heard).filter(|(_, heard)| !heard) {
        delivered(router.submit(batch.clone()).await).await;
    }
    delivered(router.submit(batch(vec![record("d0", 100)])).await).await;

    let mut source = place.source(&[&topic], "readers").await;
    source.assigned(ResumeAt::Committed).await;
    let read = source.records(101).await;
    for device in 0..3 {
        let numbers = numbers_of(&read, &format!("d{device}"));
        let expect = (0..5).flat_map(|b| (0..20).filter(|n| n % 3 == device).map(move |n| b * 20 + n));
        assert_eq!(numbers, expect.chain((device == 0).then_some(100)).collect::<Vec<u64>>());
    }
}

pub async fn dead_letters_keep_the_raw_bytes<K: Kind>() {
    let mut place = Place::<K>::new();
    let topic = place.topic("dlq", 1);
    let checked = place.check::<K::DeadLetters>(json!({ "connection": "log", "topic": topic }));
    let mut letters: K::DeadLetters = place.build(&checked).await.unwrap();
    let dead = |device: &str, reason, body: &'static [u8]| {
        let mut dead = record(device, 1);
        dead.payload = Bytes::from_static(body);
        dead.dead = Some(Arc::new(DeadReason {
            reason,
            detail: "why".into(),
            stage: "ingress".into(),
            attempts: 1,
            source: Bytes::from_static(b"devices/d1/data"),
        }));
        dead
    };
    let records = vec![dead("d1", Reason::NOT_JSON, b"\xff{"), dead("d1", Reason::BAD_DEVICE_ID, b"x")];
    delivered(letters.submit(batch(records)).await).await;

    let mut source = place.source(&[&topic], "readers").await;
    source.assigned(ResumeAt::Committed).await;
    let mut rejected: Vec<_> = Vec::new();
    while rejected.len() < 2 {
        rejected.extend(source.batch(10).await.rejected);
    }
    let seen: Vec<_> = rejected.iter().map(|r| (r.record.device.as_str(), &r.record.payload[..])).collect();
    assert_eq!(seen, [("d1", &b"\xff{"[..]), ("-", &b"x"[..])], "no envelope, so no records, but the bytes are there");
}

pub async fn batches_of_several_routers_each_keep_their_order<K: Kind>() {
    let mut place = Place::<K>::new();
    let topic = place.topic("data", 1);
    let write = async |device: &'static str| {
        let mut router = place.router_to(&topic).await;
        for start in (0..100).step_by(10) {
            let records: Vec<Record> = (start..start + 10).map(|n| record(device, n)).collect();
            delivered(router.submit(batch(records)).await).await;
        }
    };
    tokio::join!(write("d1"), write("d2"), write("d3"));
    let mut source = place.source(&[&topic], "readers").await;
    source.assigned(ResumeAt::Committed).await;
    let read = source.records(300).await;
    for device in ["d1", "d2", "d3"] {
        assert_eq!(numbers_of(&read, device), (0..100).collect::<Vec<_>>());
    }
    assert!(read.iter().all(|record| record.kind == Word::Data));
}

pub async fn several_rebuilds_in_a_row_write_once<K: Kind>() {
    let mut place = Place::<K>::new();
    let topic = place.topic("data", 1);
    let checked = place.check::<K::Router>(json!({ "connection": "log", "topic": topic }));
    let all = batch((0..100).map(|n| record("d1", n)).collect());
    for _ in 0..3 {
        let mut router: K::Router = place.build(&checked).await.unwrap();
        drop(router.submit(all.clone()).await);
    }
    let mut router: K::Router = place.build(&checked).await.unwrap();
    delivered(router.submit(all).await).await;
    delivered(router.submit(batch(vec![record("d1", 100)])).await).await;
    let mut source = place.source(&[&topic], "readers").await;
    source.assigned(ResumeAt::Committed).await;
    assert_eq!(numbers(&source.records(101).await), (0..=100).collect::<Vec<_>>());
}

pub async fn what_is_submitted_again_on_purpose_is_written_again<K: Kind>() {
    let mut place = Place::<K>::new();
    let topic = place.topic("data", 1);
    let checked = place.check::<K::Router>(json!({ "connection": "log", "topic": topic }));
    let again = batch(vec![record("d1", 1)]);
    let mut router: K::Router = place.build(&checked).await.unwrap();
    // Nobody hears of it, and it is not submitted again by the engine either.
    drop(router.submit(again.clone()).await);
    drop(router);
    let mut router: K::Router = place.build(&checked).await.unwrap();
    delivered(router.submit(again.clone()).await).await;
    for number in 2..20 {
        delivered(router.submit(batch(vec![record("d1", number)])).await).await;
    }
    delivered(router.submit(again).await).await;
    let mut source = place.source(&[&topic], "readers").await;
    source.assigned(ResumeAt::Committed).await;
    assert_eq!(numbers(&source.records(20).await), (1..20).chain([1]).collect::<Vec<_>>());
}
