//! What a router offers: recall, journal, alert log.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use telemill_engine::ports::{AlertEntry, AlertLog, FROM_THE_BEGINNING, PortError, Taken};
use telemill_engine::record::{Kind, Record};
use telemill_engine::sink::Sink;
use telemill_engine::testing::record;
use ulid::Ulid;

use super::{Routed, single};
use crate::kafka_support::{SOON, Site, batch, delivered, of_kind, partition_of, produced};

#[tokio::test]
async fn a_restart_recalls_the_newest_productions_of_a_session() {
    let routed = Routed::new(3);
    let (session, other) = (Ulid::from_parts(1, 1), Ulid::from_parts(1, 2));
    let mut router = routed.router().await;
    let mut records: Vec<_> = (1..=500).map(|n| produced(&format!("d{}", n % 7), session, n)).collect();
    for record in records.iter_mut().filter(|r| r.origin.unwrap().delivery % 5 == 0) {
        *record = of_kind(record.clone(), "hello");
    }
    records.extend((1..=20).map(|n| produced("d1", other, n)));
    records.push(record("d1", 1));
    delivered(router.submit(batch(records.clone())).await).await;
    Sink::close(&mut router).await;

    let _router = routed.router().await;
    let recall = routed.site.ports.recall("stage").expect("a router offers it");
    let mut recalled = recall.recall(0, session, 200).await.unwrap();
    recalled.sort_by_key(|taken| taken.origin.delivery);
    let expect: Vec<_> =
        records[300..500].iter().filter_map(|r| Some(Taken { origin: r.origin?, given_up_by: None })).collect();
    assert_eq!(recalled, expect);
    assert_eq!(recall.recall(1, session, 200).await.unwrap(), []);
    assert_eq!(recall.recall(0, other, 200).await.unwrap().len(), 20);
}

#[tokio::test]
async fn a_recall_sees_what_was_submitted_before_it() {
    let routed = Routed::new(3);
    let session = Ulid::from_parts(1, 1);
    let mut router = routed.router().await;
    let recall = routed.site.ports.recall("stage").unwrap();
    let in_flight = router.submit(batch((1..=300).map(|n| produced("d1", session, n)).collect())).await;
    assert_eq!(recall.recall(0, session, 1000).await.unwrap().len(), 300);
    delivered(in_flight).await;
}

#[tokio::test]
async fn a_journal_is_read_back_from_any_offset() {
    let mut site = Site::shared();
    let (mut router, _) = single(&mut site, "journal", 3).await;
    let journal = site.ports.journal("stage").expect("a router of one topic offers it");
    let partition = partition_of("d1", 3);
    assert_eq!(journal.end(partition).await.unwrap(), 0);
    assert!(journal.read(partition, 0).await.unwrap().is_empty());

    let records: Vec<_> = (0..5).map(|n| alert("d1", n)).collect();
    delivered(router.submit(batch(records.clone())).await).await;
    assert_eq!(journal.end(partition).await.unwrap(), 5);
    assert_eq!(journal.end((partition + 1) % 3).await.unwrap(), 0);
    let read = journal.read(partition, 2).await.unwrap();
    let seen: Vec<_> = read.iter().map(|r| (r.id, r.payload.clone(), r.position.unwrap().offset)).collect();
    let expect: Vec<_> = (2..5).map(|n| (records[n].id, records[n].payload.clone(), n as i64)).collect();
    assert_eq!(seen, expect);
    assert_eq!(read[0].kind, Kind::Alert);
    let error = journal.end(3).await.unwrap_err().to_string();
    assert!(error.contains("has 3 partitions"), "{error}");
}

fn alert(device: &str, number: usize) -> Record {
    let mut record = record(device, number);
    record.kind = Kind::Alert;
    record.payload = Bytes::from(format!(r#"{{"v":1,"sequence":{number},"device_id":"{device}"}}"#));
    record
}

type Stream = BoxStream<'static, Result<AlertEntry, PortError>>;

async fn follow(log: &Arc<dyn AlertLog>, after: Option<&str>) -> Stream {
    log.follow(after).await.unwrap()
}

/// The next entries of a stream.
async fn next(stream: &mut Stream, count: usize) -> Vec<AlertEntry> {
    let mut entries = Vec::new();
    while entries.len() < count {
        let entry = tokio::time::timeout(SOON, stream.next()).await.expect("an entry comes in time");
        entries.push(entry.expect("the stream goes on").unwrap());
    }
    entries
}

fn bodies(entries: &[AlertEntry]) -> Vec<String> {
    let mut bodies: Vec<_> = entries.iter().map(|e| String::from_utf8(e.body.to_vec()).unwrap()).collect();
    bodies.sort();
    bodies
}

#[tokio::test]
async fn an_alert_stream_goes_on_where_its_cursor_says() {
    let mut site = Site::shared();
    let (mut router, _) = single(&mut site, "alerts", 3).await;
    let log = site.ports.alert_log("stage").expect("a router of one topic offers it");
    delivered(router.submit(batch(vec![alert("d0", 0)])).await).await;

    let mut from_now = follow(&log, None).await;
    let mut records: Vec<_> = (1..=9).map(|n| alert(&format!("d{n}"), n)).collect();
    records.insert(4, record("d1", 100));
    let expect: Vec<_> = (1..=9).map(|n| String::from_utf8(records_payload(&records, n)).unwrap()).collect();
    delivered(router.submit(batch(records.clone())).await).await;
    let seen = next(&mut from_now, 9).await;
    assert_eq!(bodies(&seen), expect, "neither what was before nor what is no alert");

    for resumed_at in [0, 4, 7] {
        let mut resumed = follow(&log, Some(&seen[resumed_at].cursor)).await;
        let rest = next(&mut resumed, 8 - resumed_at).await;
        assert_eq!(bodies(&rest), bodies(&seen[resumed_at + 1..]), "exactly the rest behind {resumed_at}");
    }
    let mut all = follow(&log, Some(FROM_THE_BEGINNING)).await;
    assert_eq!(next(&mut all, 10).await.len(), 10);
    assert!(log.follow(Some("7")).await.is_err());
}

fn records_payload(records: &[Record], number: usize) -> Vec<u8> {
    let wanted = format!(r#""sequence":{number},"#);
    let found = records.iter().find(|r| String::from_utf8_lossy(&r.payload).contains(&wanted));
    found.unwrap().payload.to_vec()
}

#[tokio::test]
async fn a_stream_that_is_not_read_holds_back_only_itself() {
    let mut site = Site::shared();
    let (mut router, _) = single(&mut site, "slow", 1).await;
    let log = site.ports.alert_log("stage").unwrap();
    let mut slow = follow(&log, None).await;
    let dropped = follow(&log, None).await;
    delivered(router.submit(batch((0..1000).map(|n| alert("d1", n)).collect())).await).await;
    drop(dropped);
    let mut quick = follow(&log, Some(FROM_THE_BEGINNING)).await;
    assert_eq!(next(&mut quick, 1000).await.len(), 1000);
    assert_eq!(next(&mut slow, 1000).await.len(), 1000);
}
