//! The store of devices: the contract, the exact rows, and how few they stay.

use std::time::Duration;

use bytes::Bytes;
use telemill_actors::embedded::disk::{DiskError, KeyRange, Read, Space};
use telemill_engine::sink::{Sink, Submitted};
use telemill_engine::stage::StageError;
use telemill_services::eventually;

use super::harness::{EmbeddedHarness, writer_with};
use crate::conformance::records::{NOW, OTHER_TOPIC, TOPIC, batch, message, record};
use crate::conformance::store::{DEADLINE, HISTORY, Harness, Open, id, open, store_suite};

store_suite!(EmbeddedHarness);

async fn rows(harness: &EmbeddedHarness, space: &'static str) -> Vec<(Bytes, Bytes)> {
    let all = |view: &telemill_actors::embedded::disk::View<'_>| {
        view.rows(Space(space), KeyRange::prefix(Bytes::new())).collect::<Result<Vec<_>, DiskError>>()
    };
    harness.disk().read(all).await.unwrap()
}

async fn put(harness: &EmbeddedHarness, space: &'static str, key: &[u8], value: &[u8]) {
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
    // More rows than one write of the sweep removes.
    for device in 0..3 {
        let name = format!("d{device}");
        let records = (0..1_500).map(|n| record(&name, TOPIC, 2_000 * device + n, NOW, &n.to_string())).collect();
        store.deliver(&batch(&[], records)).await;
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

/// What the rows of the history weigh, and what is written down of that, at one moment.
async fn weights(harness: &EmbeddedHarness) -> (u64, u64) {
    let both = harness.disk().read(|view| {
        let all =
            |space| view.rows(Space(space), KeyRange::prefix(Bytes::new())).collect::<Result<Vec<_>, DiskError>>();
        Ok::<_, DiskError>((all("history")?, all("history_weight")?))
    });
    let (history, noted) = both.await.unwrap();
    let bytes = history.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum();
    let number = |value: &Bytes| u64::from_be_bytes(value[1..].try_into().unwrap());
    let (total, stretches): (Vec<_>, Vec<_>) = noted.iter().partition(|(key, _)| key == &b"\xfftotal"[..]);
    let sum: u64 = stretches.iter().map(|(_, value)| number(value)).sum();
    let [(_, total)] = &total[..] else { panic!("there is one total") };
    assert_eq!(number(total), sum);
    (bytes, sum)
}

/// Two devices, one that speaks in turn with the other and one that fell silent early.
#[tokio::test]
async fn the_history_of_all_devices_is_cut_where_it_takes_too_much() {
    const SIZE: u64 = 1 << 20;
    let harness = EmbeddedHarness::new().await;
    let (writer, devices) = writer_with(harness.dir(), "t", 1, HISTORY, Some(SIZE)).await;
    let mut store = Open { writer, devices };
    let text = format!("\"{}\"", "x".repeat(900));
    let device = |n: i64| if n < 300 && n % 2 == 0 { "early" } else { "late" };
    let at = |n: i64| record(device(n), TOPIC, n, NOW + n as u64, &text);
    for first in (0..3_000).step_by(300) {
        let previous = [(TOPIC, first - 1, 0)];
        let records = (first..first + 300).map(at).collect();
        store.deliver(&batch(if first == 0 { &[] } else { &previous }, records)).await;
    }
    let is_cut = async || (weights(&harness).await.1 <= SIZE - SIZE / 10).then_some(());
    eventually(DEADLINE, "the history to be cut to nine tenths", is_cut).await;
    let (bytes, noted) = weights(&harness).await;
    assert_eq!(noted, bytes);
    assert!(bytes > SIZE / 2, "{bytes} bytes are left of {SIZE}");
    let late = store.history("late").await;
    let newest: Vec<_> = (3_000 - late.len() as i64..3_000).map(|n| message(&at(n))).collect();
    assert!(late == newest, "the newest stay, without holes");
    assert!(store.history("early").await.is_empty());
    assert_eq!(store.last_state("early").await, Some((text.clone(), NOW + 298)), "the last state stays");
    // And it goes on.
    store.deliver(&batch(&[(TOPIC, 2_999, 0)], vec![at(3_000), record("early", TOPIC, 3_001, NOW + 3_001, "1")])).await;
    assert_eq!(store.history("early").await.len(), 1);
    let (bytes, noted) = weights(&harness).await;
    assert_eq!(noted, bytes);
}

/// Trimmed by time, written late, written twice without a position.
#[tokio::test]
async fn the_weight_of_the_history_agrees_with_its_rows() {
    let harness = EmbeddedHarness::new().await;
    let (writer, devices) = writer_with(harness.dir(), "t", 1, Duration::from_secs(60), Some(1 << 30)).await;
    let mut store = Open { writer, devices };
    let at = |n: i64, secs: u64| record("d", TOPIC, n, NOW + secs, &n.to_string());
    store.deliver(&batch(&[], (0..100).map(|n| at(n, n as u64)).collect())).await;
    store.deliver(&batch(&[(TOPIC, 99, 0)], vec![at(100, 500), at(101, 2)])).await;
    let mut foreign = record("e", TOPIC, 0, NOW, "1");
    foreign.position = None;
    for _ in 0..2 {
        store.deliver(&batch(&[], vec![foreign.clone()])).await;
    }
    let (bytes, noted) = weights(&harness).await;
    assert_eq!(noted, bytes);
    assert!(bytes > 0);

    // A directory of a program that did not weigh it.
    let forget = |tx: &mut telemill_actors::embedded::disk::Tx<'_>| {
        let known = tx.rows(Space("history_weight"), KeyRange::prefix(Bytes::new()));
        let known: Vec<_> = known.collect::<Result<_, DiskError>>()?;
        known.into_iter().for_each(|(key, _)| tx.remove(Space("history_weight"), key));
        Ok::<_, DiskError>(())
    };
    harness.disk().write(forget).await.unwrap();
    drop(store);
    let _without = harness.writer("t", 2, Duration::from_secs(60)).await;
    assert!(rows(&harness, "history_weight").await.is_empty());
    let _with = writer_with(harness.dir(), "t", 3, Duration::from_secs(60), Some(1 << 30)).await;
    assert_eq!(weights(&harness).await, (bytes, noted));
}

/// A writer of another name reads the log from its beginning, and writes what is there.
#[tokio::test]
async fn what_is_written_over_what_is_there_has_nothing_cut() {
    let harness = EmbeddedHarness::new().await;
    let text = format!("\"{}\"", "x".repeat(900));
    let records: Vec<_> = (0..600).map(|n| record("d", TOPIC, n, NOW + n as u64, &text)).collect();
    for topology in ["t", "renamed"] {
        let (writer, devices) = writer_with(harness.dir(), topology, 1, HISTORY, Some(1 << 20)).await;
        let mut store = Open { writer, devices };
        store.deliver(&batch(&[], records.clone())).await;
        let is_right = async || {
            let (bytes, noted) = weights(&harness).await;
            (bytes == noted).then_some(())
        };
        eventually(DEADLINE, "the history to be weighed anew", is_right).await;
        assert_eq!(store.history("d").await.len(), 600);
    }
}

/// More is noted than is there.
#[tokio::test]
async fn a_history_that_seems_to_take_too_much_is_weighed_anew() {
    let harness = EmbeddedHarness::new().await;
    let (writer, devices) = writer_with(harness.dir(), "t", 1, HISTORY, Some(1 << 20)).await;
    let mut store = Open { writer, devices };
    store.deliver(&batch(&[], (0..10).map(|n| record("d", TOPIC, n, NOW, "1")).collect())).await;
    let number = |number: u64| [&[1][..], &number.to_be_bytes()].concat();
    let (bytes, _) = weights(&harness).await;
    put(&harness, "history_weight", &(NOW - 1000).to_be_bytes(), &number(1 << 21)).await;
    put(&harness, "history_weight", b"\xfftotal", &number(bytes + (1 << 21))).await;
    let is_right = async || (weights(&harness).await == (bytes, bytes)).then_some(());
    eventually(DEADLINE, "the history to be weighed anew", is_right).await;
    assert_eq!(store.history("d").await.len(), 10);
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
