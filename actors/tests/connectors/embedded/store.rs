//! The store of devices: the contract, the exact rows, and how few they stay.

use std::time::Duration;

use bytes::Bytes;
use telemill_actors::embedded::disk::{DiskError, KeyRange, Read, Space};
use telemill_engine::record::Record;
use telemill_engine::sink::{Sink, Submitted};
use telemill_engine::stage::StageError;
use telemill_services::eventually;

use super::harness::{EmbeddedHarness, writer_with};
use super::weight::weights;
use crate::conformance::records::{NOW, OTHER_TOPIC, TOPIC, batch, message, record};
use crate::conformance::store::{DEADLINE, HISTORY, Harness, Open, id, open, store_suite};

store_suite!(EmbeddedHarness);

pub(super) async fn rows(harness: &EmbeddedHarness, space: &'static str) -> Vec<(Bytes, Bytes)> {
    let all = |view: &telemill_actors::embedded::disk::View<'_>| {
        view.rows(Space(space), KeyRange::prefix(Bytes::new())).collect::<Result<Vec<_>, DiskError>>()
    };
    harness.disk().read(all).await.unwrap()
}

pub(super) async fn put(harness: &EmbeddedHarness, space: &'static str, key: &[u8], value: &[u8]) {
    let (key, value) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
    let written = harness.disk().write(move |tx| {
        tx.insert(Space(space), key, value);
        Ok::<_, DiskError>(())
    });
    written.await.unwrap();
}

#[tokio::test]
async fn every_row_is_as_written_down() {
    let harness = EmbeddedHarness::new().await;
    let mut store = open(&harness, "t", 7).await;
    let records = [record("d", TOPIC, 10, NOW, r#"{"t": 1}"#), record("d", OTHER_TOPIC, 3, NOW + 1, "true")];
    store.deliver(&batch(&[], records.to_vec())).await;

    let [(device, entry)] = &rows(&harness, "devices").await[..] else { panic!("there is one device") };
    assert_eq!(device, "d");
    assert_eq!(entry[0], 1);
    let number = |at: usize| u64::from_be_bytes(entry[at..at + 8].try_into().unwrap());
    assert_eq!(number(1), NOW + 1);
    assert_eq!(number(9), NOW + 1 - 18_000, "hidden below");
    assert_eq!(&entry[33..], b"true");
    let [(expiry, nothing)] = &rows(&harness, "expiry").await[..] else { panic!("there is one device") };
    assert_eq!((&expiry[..8], &expiry[8..], nothing.len()), (&entry[25..33], &b"d"[..], 0));
    let wall = Duration::from_secs(number(25)).as_secs();
    let now = telemill_engine::clock::Clock::system().now().as_secs();
    assert!((now + 17_900..=now + 18_000 + 18_000 / 16).contains(&wall), "{wall} at {now}");
    assert_eq!(wall % (18_000 / 16), 0);

    let history = rows(&harness, "history").await;
    for ((key, value), record) in history.iter().zip(&records) {
        let (name, rest) = key.split_at(2);
        assert_eq!(name, b"d\0");
        assert_eq!(rest[..8], record.received_at.as_secs().to_be_bytes());
        assert_eq!(rest[8..24], record.id.0.0.to_be_bytes());
        assert_eq!(rest.len(), 32);
        assert_eq!(value, &message(record));
    }
    assert_eq!(history.len(), 2);

    let [(key, guard)] = &rows(&harness, "guards").await[..] else { panic!("there is one guard") };
    assert_eq!(key, &b"t\0writer\0\x80\0\0\0"[..]);
    let expect = concat!(
        r#"{"v":1,"epoch":7,"positions":[["00000000-0000-0000-0000-0000000000aa",10,0],"#,
        r#"["00000000-0000-0000-0000-0000000000bb",3,0]]}"#
    );
    assert_eq!(guard, expect);
}

/// Two writers that take the same records in different batches.
#[tokio::test]
async fn what_a_batch_has_of_one_second_is_one_row_and_is_read_once_and_in_order() {
    let harness = EmbeddedHarness::new().await;
    let mut store = open(&harness, "t", 1).await;
    let records: Vec<_> = (0..10).map(|n| record("d", TOPIC, n, NOW + n as u64 / 4, &n.to_string())).collect();
    store.deliver(&batch(&[], records[..1].to_vec())).await;
    store.deliver(&batch(&[(TOPIC, 0, 0)], records[1..].to_vec())).await;
    // A message alone, and pages of three, four and two.
    let history = rows(&harness, "history").await;
    assert_eq!(history.iter().map(|(_, value)| value[0]).collect::<Vec<_>>(), [b'{', 2, 2, 2]);
    let second = |key: &Bytes| u64::from_be_bytes(key[2..10].try_into().unwrap());
    assert_eq!(history.iter().map(|(key, _)| second(key) - NOW).collect::<Vec<_>>(), [0, 0, 1, 2]);
    let page = &history[3].1;
    assert_eq!(page[1..17], records[8].id.0.0.to_be_bytes());
    assert_eq!(&page[17..21], (message(&records[8]).len() as u32).to_be_bytes());
    assert_eq!(&page[21..21 + message(&records[8]).len()], message(&records[8]).as_bytes());
    let messages: Vec<_> = records.iter().map(message).collect();
    assert_eq!(store.history("d").await, messages);

    let mut other = open(&harness, "u", 1).await;
    other.deliver(&batch(&[], records[..7].to_vec())).await;
    other.deliver(&batch(&[(TOPIC, 6, 0)], records[7..].to_vec())).await;
    assert!(rows(&harness, "history").await.len() > history.len(), "pages that overlap");
    assert_eq!(store.history("d").await, messages);
    for limit in 1..=10 {
        let newest = store.devices.history(&id("d"), 0, u64::MAX, limit).await.unwrap();
        assert_eq!(newest, messages[10 - limit..].iter().map(|m| Bytes::from(m.clone())).collect::<Vec<_>>());
    }
    let between = store.devices.history(&id("d"), NOW + 1, NOW + 1, 100).await.unwrap();
    assert_eq!(between, messages[4..8].iter().map(|m| Bytes::from(m.clone())).collect::<Vec<_>>());
}

/// More than a read gathers of one second before it lets go of the oldest.
#[tokio::test]
async fn of_a_second_with_many_messages_the_newest_are_read() {
    let harness = EmbeddedHarness::new().await;
    let mut store = open(&harness, "t", 1).await;
    let records: Vec<_> = (0..12_000).map(|n| record("d", TOPIC, n, NOW, &n.to_string())).collect();
    store.deliver(&batch(&[], records.clone())).await;
    store.deliver(&batch(&[(TOPIC, 11_999, 0)], vec![record("d", TOPIC, 12_000, NOW + 1, "1")])).await;
    let newest = store.devices.history(&id("d"), 0, NOW, 10).await.unwrap();
    assert_eq!(newest, records[11_990..].iter().map(|record| Bytes::from(message(record))).collect::<Vec<_>>());
    assert_eq!(store.devices.history(&id("d"), 0, u64::MAX, 11).await.unwrap()[..10], newest[..]);
    assert_eq!(store.history("d").await.len(), 12_001);
}

#[tokio::test]
async fn what_a_newer_program_wrote_stops_the_writer() {
    let harness = EmbeddedHarness::new().await;
    let mut store = open(&harness, "t", 1).await;
    let one = batch(&[], vec![record("d", TOPIC, 1, NOW, "1")]);
    put(&harness, "devices", b"d", &[[2].as_slice(), &[0; 40]].concat()).await;
    let Submitted::Fatal(text) = store.submit(&one).await else { panic!("it was taken") };
    assert!(text.contains("device d") && text.contains("version 2"), "{text}");
    assert!(store.devices.last_state(&id("d")).await.is_err());
    assert!(rows(&harness, "guards").await.is_empty(), "nothing of the batch is written");

    put(&harness, "guards", b"t\0writer\0\x80\0\0\0", br#"{"v":2,"other":true}"#).await;
    let Submitted::Fatal(text) = store.submit(&one).await else { panic!("it was taken") };
    assert!(text.contains("the guard of `writer` in `t`") && text.contains("version 2"), "{text}");
    assert!(matches!(store.writer.resume(0).await, Err(StageError::Fatal(_))));
}

/// Ten hours of a device that writes every ten seconds, of which five are kept.
#[tokio::test]
async fn the_rows_of_a_device_are_bounded_by_its_retention() {
    let harness = EmbeddedHarness::new().await;
    let mut store = open(&harness, "t", 1).await;
    let at = |n: i64| record("d", TOPIC, n, NOW + 10 * n as u64, &n.to_string());
    let mut most = 0;
    for hour in 0..10 {
        let from = hour * 360;
        for half in [from, from + 180] {
            let previous = [(TOPIC, half - 1, 0)];
            let records = (half..half + 180).map(at).collect();
            store.deliver(&batch(if half == 0 { &[] } else { &previous }, records)).await;
            most = most.max(rows(&harness, "history").await.len());
        }
    }
    // Five hours, a 32nd of them, and a batch.
    assert!((1_800..=1_801 + 57 + 180).contains(&most), "{most}");
    let history = store.history("d").await;
    assert_eq!(history.len(), 1_801);
    assert_eq!(history[0], message(&at(3_599 - 1_800)));
    assert_eq!(rows(&harness, "devices").await.len(), 1);
    assert_eq!(rows(&harness, "expiry").await.len(), 1);
}

#[tokio::test]
async fn nothing_is_left_of_the_history_of_silent_devices() {
    let harness = EmbeddedHarness::new().await;
    let (writer, devices) = writer_with(harness.dir(), "t", 1, Duration::from_secs(1), Some(1 << 30)).await;
    let mut store = Open { writer, devices };
    // More rows than one write of the sweep removes: without positions each message has its own.
    for device in 0..3 {
        let name = format!("d{device}");
        let at = |n: i64| Record { position: None, ..record(&name, TOPIC, 2_000 * device + n, NOW, &n.to_string()) };
        store.deliver(&batch(&[], (0..1_500).map(at).collect())).await;
    }
    eventually(DEADLINE, "the rows to go", async || {
        let left = rows(&harness, "history").await.len() + rows(&harness, "expiry").await.len();
        (left == 0).then_some(())
    })
    .await;
    assert_eq!(rows(&harness, "devices").await.len(), 3, "the last state stays");
    assert_eq!(weights(&harness).await, (0, 0));
    assert_eq!(rows(&harness, "history_weight").await.len(), 1, "the total is left");
    assert_eq!(store.last_state("d2").await, Some(("1499".to_owned(), NOW)));
}

#[tokio::test]
async fn subscriptions_outlive_the_writer() {
    let harness = EmbeddedHarness::new().await;
    let mut first = open(&harness, "t", 1).await;
    let mut heard = first.listen("d").await;
    let before = record("d", TOPIC, 1, NOW, "1");
    first.deliver(&batch(&[], vec![before.clone()])).await;
    drop(first);
    let (writer, devices) = harness.writer("t", 2, HISTORY).await;
    let mut second = Open { writer, devices };
    let behind = record("d", TOPIC, 2, NOW, "2");
    second.deliver(&batch(&[(TOPIC, 1, 0)], vec![behind.clone()])).await;
    assert_eq!(second.heard(&mut heard).await, (vec![message(&before), message(&behind)], 0));
}
