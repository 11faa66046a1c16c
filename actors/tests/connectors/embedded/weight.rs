//! What the history of all devices takes, and how it is kept below `history_size`.

use std::time::Duration;

use bytes::Bytes;
use telemill_actors::embedded::disk::{DiskError, KeyRange, Read, Space};
use telemill_services::eventually;

use super::harness::{EmbeddedHarness, writer_with};
use super::store::{put, rows};
use crate::conformance::records::{NOW, TOPIC, batch, message, record};
use crate::conformance::store::{DEADLINE, HISTORY, Harness, Open};

/// What the rows of the history weigh, and what is written down of that, at one moment.
pub(super) async fn weights(harness: &EmbeddedHarness) -> (u64, u64) {
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

#[tokio::test]
async fn the_history_of_all_devices_is_cut_where_it_takes_too_much() {
    cut(1).await;
}

#[tokio::test]
async fn the_same_where_a_row_has_several_messages() {
    cut(6).await;
}

/// Two devices, one that speaks in turn with the other and one that fell silent early.
async fn cut(messages_a_second: u64) {
    const SIZE: u64 = 1 << 20;
    let harness = EmbeddedHarness::new().await;
    let (writer, devices) = writer_with(harness.dir(), "t", 1, HISTORY, Some(SIZE)).await;
    let mut store = Open { writer, devices };
    let text = format!("\"{}\"", "x".repeat(900));
    let device = |n: i64| if n < 300 && n % 2 == 0 { "early" } else { "late" };
    let at = |n: i64| record(device(n), TOPIC, n, NOW + n as u64 / messages_a_second, &text);
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
    assert_eq!(
        store.last_state("early").await,
        Some((text.clone(), NOW + 298 / messages_a_second)),
        "the last state stays"
    );
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
    store.deliver(&batch(&[], (0..100).map(|n| at(n, n as u64 / 2)).collect())).await;
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
async fn rows_that_are_written_again_have_nothing_cut() {
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

/// The same with other batches: their pages stand beside those that are there.
#[tokio::test]
async fn what_is_written_again_in_other_batches_weighs_what_it_takes_and_is_read_once() {
    const SIZE: u64 = 1 << 20;
    let harness = EmbeddedHarness::new().await;
    let text = format!("\"{}\"", "x".repeat(900));
    let records: Vec<_> = (0..600).map(|n| record("d", TOPIC, n, NOW + n as u64 / 4, &text)).collect();
    let messages: Vec<_> = records.iter().map(message).collect();
    for (topology, of_a_batch) in [("t", 600), ("renamed", 3)] {
        let (writer, devices) = writer_with(harness.dir(), topology, 1, HISTORY, Some(SIZE)).await;
        let mut store = Open { writer, devices };
        let mut previous = Vec::new();
        for some in records.chunks(of_a_batch) {
            store.deliver(&batch(&previous, some.to_vec())).await;
            previous = vec![(TOPIC, some.last().unwrap().position.unwrap().offset, 0)];
        }
        let is_right = async || {
            let (bytes, noted) = weights(&harness).await;
            (bytes == noted && bytes <= SIZE).then_some(())
        };
        eventually(DEADLINE, "the history to weigh what it takes, and no more than it may", is_right).await;
        let history = store.history("d").await;
        assert!(history.len() > 300 && messages.ends_with(&history), "the newest stay, each once: {}", history.len());
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
