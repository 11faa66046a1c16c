//! What stays, and what goes by itself.

use std::time::Duration;

use telemill_engine::position::{Cursor, TopicOffset};
use telemill_engine::sink::{Sink, Submitted};
use telemill_services::{eventually, unique_name};

use super::{DEADLINE, HISTORY, Harness, Open, open, state};
use crate::conformance::records::{NOW, TOPIC, batch, message, messages, messages_of, record, run_of_batches};

pub(crate) async fn what_was_delivered_is_there_after_a_restart<H: Harness>() {
    let harness = H::start_own().await;
    let (topology, device) = (unique_name("restart"), unique_name("dev"));
    let mut store = open(&harness, &topology, 3).await;
    store.writer.resume(0).await.unwrap();
    let batches = run_of_batches(&device, 0);
    for batch in &batches[..5] {
        store.deliver(batch).await;
    }
    drop(store);
    let harness = harness.restart().await;
    let mut superseded = open(&harness, &topology, 2).await;
    let refused = superseded.submit(&batches[5]).await;
    assert!(matches!(refused, Submitted::Fatal(_)), "the epoch was kept, too: {refused:?}");

    let mut store = open(&harness, &topology, 4).await;
    let cursor = store.writer.resume(0).await.unwrap();
    assert_eq!(cursor, Some(Cursor(vec![TopicOffset { topic: TOPIC, offset: 24 }])));
    assert_eq!(store.last_state(&device).await, state("\"number 24\"", NOW));
    assert_eq!(store.history(&device).await, messages_of(&batches[..5]));
    for batch in &batches[3..] {
        store.deliver(batch).await;
    }
    assert_eq!(store.history(&device).await, messages_of(&batches), "nothing twice");
}

pub(crate) async fn a_silent_device_keeps_its_state_and_loses_its_history<H: Harness>() {
    let harness = H::start().await;
    let topology = unique_name("silent");
    let (silent, other) = (unique_name("dev"), unique_name("dev"));
    let (writer, devices) = harness.writer(&topology, 1, HISTORY).await;
    let mut long = Open { writer, devices };
    let (writer, devices) = harness.writer(&unique_name("silent"), 1, Duration::from_secs(2)).await;
    let mut short = Open { writer, devices };
    let first = [record(&silent, TOPIC, 1, NOW, "1"), record(&other, TOPIC, 2, NOW, "1")];
    short.deliver(&batch(&[], first.to_vec())).await;
    // Who wrote last says how long.
    let again = record(&other, TOPIC, 3, NOW, "2");
    long.deliver(&batch(&[], vec![again.clone()])).await;
    eventually(DEADLINE, "the history of the silent device to go", async || {
        short.history(&silent).await.is_empty().then_some(())
    })
    .await;
    assert_eq!(short.last_state(&silent).await, state("1", NOW));
    assert_eq!(long.history(&other).await.last(), Some(&message(&again)));
    let back = record(&silent, TOPIC, 4, NOW + 9, "2");
    long.deliver(&batch(&[(TOPIC, 3, 0)], vec![back.clone()])).await;
    assert_eq!(long.history(&silent).await, messages(&[back]), "what is gone does not come back");
}
