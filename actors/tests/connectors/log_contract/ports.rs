//! What a log offers the other stages and the API.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::json;
use telemill_engine::clock::Timestamp;
use telemill_engine::ports::{Command, FROM_THE_BEGINNING, GivenUp, Taken};
use telemill_engine::record::{DeadReason, EventId, Kind as Word, Reason, Record};
use telemill_engine::sink::Sink;
use telemill_engine::source::ResumeAt;
use telemill_engine::testing::record;
use ulid::Ulid;

use super::{Kind, Place};
use crate::kafka_support::{SOON, batch, delivered, partition_of, produced};

pub async fn the_newest_productions_are_recalled<K: Kind>() {
    let mut place = Place::<K>::new();
    let topic = place.topic("data", 3);
    let (session, other) = (Ulid::from_parts(1, 1), Ulid::from_parts(1, 2));
    let mut router = place.router_to(&topic).await;
    let mut records: Vec<_> = (1..=500).map(|n| produced(&format!("d{}", n % 7), session, n)).collect();
    records.extend((1..=20).map(|n| produced("d1", other, n)));
    records.push(record("d1", 1));
    // Not waited for: a recall sees what was submitted before it.
    let in_flight = router.submit(batch(records.clone())).await;
    let recall = place.ports.recall("stage").expect("a router offers it");
    let mut recalled = recall.recall(0, session, 200).await.unwrap();
    recalled.sort_by_key(|taken| taken.origin.delivery);
    let expect: Vec<_> =
        records[300..500].iter().filter_map(|r| Some(Taken { origin: r.origin?, given_up_by: None })).collect();
    assert_eq!(recalled, expect);
    assert_eq!(recall.recall(1, session, 200).await.unwrap(), []);
    assert_eq!(recall.recall(0, other, 200).await.unwrap().len(), 20);
    delivered(in_flight).await;
}

pub async fn what_a_topology_gave_up_is_read_back<K: Kind>() {
    let mut place = Place::<K>::new();
    let topic = place.topic("dlq", 2);
    let checked = place.check::<K::DeadLetters>(json!({ "connection": "log", "topic": topic }));
    let mut sink: K::DeadLetters = place.build(&checked).await.unwrap();
    let source = |number: usize| Bytes::from(format!("1c9a/0/{number}"));
    let letter = |number: usize| {
        let (reason, detail, stage) = (Reason::WRONG_TYPE, "why".into(), "writer".into());
        let dead = DeadReason { reason, detail, stage, attempts: 3, source: source(number) };
        Record { dead: Some(Arc::new(dead)), ..record(&format!("d{number}"), number) }
    };
    let records: Vec<_> = (0..100).map(letter).collect();
    // Not waited for: what was submitted before is seen.
    let in_flight = sink.submit(batch(records.clone())).await;
    let letters = place.ports.letters().expect("dead letters can be read back");
    let (mut found, read) = letters.given_up("test", &Vec::new(), 1000).await.unwrap();
    found.sort_by_key(|given_up| given_up.id);
    let of =
        |(number, record): (usize, &Record)| GivenUp { id: record.id, stage: "writer".into(), source: source(number) };
    assert_eq!(found, records.iter().enumerate().map(of).collect::<Vec<_>>());
    assert_eq!(letters.given_up("test", &read, 1000).await.unwrap(), (Vec::new(), read.clone()), "nothing came since");
    let (others, _) = letters.given_up("another", &Vec::new(), 1000).await.unwrap();
    assert_eq!(others, [], "what others gave up they gave up for themselves");
    let (newest, _) = letters.given_up("test", &Vec::new(), 10).await.unwrap();
    assert_eq!(newest.len(), 10, "the newest, evenly over the partitions");
    assert!(newest.contains(&of((99, &records[99]))));
    delivered(in_flight).await;
    let late = letter(100);
    delivered(sink.submit(batch(vec![late.clone()])).await).await;
    let (since, _) = letters.given_up("test", &read, 1000).await.unwrap();
    assert_eq!(since, [of((100, &late))]);
}

fn alert(device: &str, number: usize) -> Record {
    let mut record = record(device, number);
    record.kind = Word::Alert;
    record.payload = Bytes::from(format!(r#"{{"v":1,"sequence":{number},"device_id":"{device}"}}"#));
    record
}

pub async fn a_journal_is_read_back_from_any_offset<K: Kind>() {
    let mut place = Place::<K>::new();
    let topic = place.topic("journal", 3);
    let mut router = place.router_to(&topic).await;
    let journal = place.ports.journal("stage").expect("a router of one topic offers it");
    let partition = partition_of("d1", 3);
    assert_eq!(journal.end(partition).await.unwrap(), 0);
    let records: Vec<_> = (0..5).map(|n| alert("d1", n)).collect();
    delivered(router.submit(batch(records.clone())).await).await;
    assert_eq!(journal.end(partition).await.unwrap(), 5);
    assert_eq!(journal.end((partition + 1) % 3).await.unwrap(), 0);
    let read = journal.read(partition, 2).await.unwrap();
    let seen: Vec<_> = read.iter().map(|r| (r.id, r.payload.clone(), r.position.unwrap().offset)).collect();
    let expect: Vec<_> = (2..5).map(|n| (records[n].id, records[n].payload.clone(), n as i64)).collect();
    assert_eq!(seen, expect);
    assert!(journal.end(3).await.unwrap_err().to_string().contains("has 3 partitions"));
}

pub async fn an_alert_stream_goes_on_behind_its_cursor<K: Kind>() {
    let mut place = Place::<K>::new();
    let topic = place.topic("alerts", 3);
    let mut router = place.router_to(&topic).await;
    let log = place.ports.alert_log("stage").expect("a router of one topic offers it");
    delivered(router.submit(batch(vec![alert("d0", 0)])).await).await;
    let mut from_now = log.follow(None).await.unwrap();
    let mut records: Vec<_> = (1..=9).map(|n| alert(&format!("d{n}"), n)).collect();
    records.insert(4, record("d1", 100));
    delivered(router.submit(batch(records)).await).await;

    let take = async |stream: &mut futures_util::stream::BoxStream<'static, _>, count: usize| {
        let mut entries = Vec::new();
        while entries.len() < count {
            let entry: Option<Result<_, telemill_engine::ports::PortError>> =
                tokio::time::timeout(SOON, stream.next()).await.expect("an entry comes in time");
            let entry: telemill_engine::ports::AlertEntry = entry.expect("the stream goes on").unwrap();
            entries.push((entry.cursor, entry.body));
        }
        entries
    };
    let sorted = |entries: &[(String, Bytes)]| {
        let mut bodies: Vec<_> = entries.iter().map(|(_, body)| body.clone()).collect();
        bodies.sort();
        bodies
    };
    let seen = take(&mut from_now, 9).await;
    let expect: Vec<_> = (1..=9).map(|n| alert(&format!("d{n}"), n).payload).collect();
    assert_eq!(sorted(&seen), expect, "neither what was before nor what is no alert");
    for resumed_at in [0, 4, 7] {
        let mut resumed = log.follow(Some(&seen[resumed_at].0)).await.unwrap();
        let rest = take(&mut resumed, 8 - resumed_at).await;
        assert_eq!(sorted(&rest), sorted(&seen[resumed_at + 1..]), "exactly the rest behind {resumed_at}");
    }
    let mut all = log.follow(Some(FROM_THE_BEGINNING)).await.unwrap();
    assert_eq!(take(&mut all, 10).await.len(), 10);
    delivered(router.submit(batch(vec![alert("d1", 10)])).await).await;
    assert_eq!(take(&mut all, 1).await[0].1, alert("d1", 10).payload, "it is told of what comes later");
    assert!(log.follow(Some("7")).await.is_err());
}

pub async fn a_command_is_durable_when_it_is_taken<K: Kind>() {
    let mut place = Place::<K>::new();
    let data = place.topic("data", 3);
    let commands = place.declare(format!("{}-commands", telemill_services::unique_name("iot")), 3);
    let mut source = place.source(&[&data, &commands], "readers").await;
    source.assigned(ResumeAt::Committed).await;
    let log = place.ports.command_log().expect("a source of a topic of commands offers it");
    let command = Command {
        id: EventId(Ulid::from_parts(7, 9)),
        device: "d1".parse().unwrap(),
        body: Bytes::from_static(br#"{"set": 1}"#),
        accepted_at: Timestamp(5_432),
        ttl: Some(Duration::from_secs(1)),
    };
    log.append(command).await.unwrap();
    let read = source.records(1).await;
    assert_eq!((read[0].device.as_str(), &read[0].kind), ("d1", &Word::Command));
    assert_eq!(read[0].payload, Bytes::from_static(br#"{"set": 1}"#));
    assert_eq!(read[0].id, EventId(Ulid::from_parts(7, 9)));
    assert_eq!(read[0].position.unwrap().partition, partition_of("d1", 3));
    let message: serde_json::Value = serde_json::from_slice(read[0].message.as_ref().unwrap()).unwrap();
    assert_eq!(message["expires_at"], 6_432);
    source.close().await;
}
