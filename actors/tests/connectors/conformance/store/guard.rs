//! What the guard skips, and what it refuses without writing anything.

use std::sync::Arc;

use telemill_engine::ack::Guards;
use telemill_engine::batch::Batch;
use telemill_engine::position::{Cursor, TopicOffset};
use telemill_engine::sink::{Sink, Submitted};
use telemill_engine::stage::StageError;
use telemill_services::unique_name;

use super::{Harness, open, state};
use crate::conformance::records::{NOW, OTHER_TOPIC, TOPIC, batch, message, messages, output, record, run_of_batches};

pub(crate) async fn only_what_is_behind_the_guard_applies<H: Harness>() {
    let harness = H::start().await;
    let (a, b) = (unique_name("dev"), unique_name("dev"));
    let mut store = open(&harness, &unique_name("overlap"), 1).await;
    let (mut heard_a, mut heard_b) = (store.listen(&a).await, store.listen(&b).await);
    let records = vec![
        record(&a, TOPIC, 1, NOW, "1"),
        record(&a, OTHER_TOPIC, 1, NOW, "2"),
        record(&b, TOPIC, 2, NOW, "3"),
        record(&b, OTHER_TOPIC, 2, NOW, "4"),
        record(&a, TOPIC, 5, NOW + 1, "5"),
    ];
    store.deliver(&batch(&[], records[..3].to_vec())).await;
    for _ in 0..2 {
        store.deliver(&batch(&[], records.clone())).await;
    }
    assert_eq!(store.last_state(&a).await, state("5", NOW + 1));
    // Further back than the guard: the state must not go back either.
    store.deliver(&batch(&[], records[..1].to_vec())).await;
    assert_eq!(store.last_state(&a).await, state("5", NOW + 1));
    assert_eq!(store.heard(&mut heard_a).await.0, [0, 1, 4].map(|n| message(&records[n])));
    assert_eq!(store.heard(&mut heard_b).await.0, [2, 3].map(|n| message(&records[n])));
}

pub(crate) async fn outputs_of_one_offset_are_told_apart<H: Harness>() {
    let harness = H::start().await;
    let device = unique_name("dev");
    let mut store = open(&harness, &unique_name("outputs"), 1).await;
    let mut heard = store.listen(&device).await;
    let outputs: Vec<_> = (1..=3).map(|n| output(&device, TOPIC, (8, n), NOW, &n.to_string())).collect();
    store.deliver(&batch(&[], outputs[..2].to_vec())).await;
    let cursor = store.writer.resume(0).await.unwrap();
    assert_eq!(cursor, Some(Cursor(vec![TopicOffset { topic: TOPIC, offset: 7 }])), "there may be more of offset 8");
    store.deliver(&batch(&[], outputs.clone())).await;
    assert_eq!(store.history(&device).await, messages(&outputs));
    assert_eq!(store.heard(&mut heard).await.0, messages(&outputs));
}

pub(crate) async fn a_gap_is_told_and_nothing_written<H: Harness>() {
    let harness = H::start().await;
    let device = unique_name("dev");
    let mut store = open(&harness, &unique_name("gap"), 1).await;
    let second = batch(&[(TOPIC, 1, 0)], vec![record(&device, TOPIC, 2, NOW, "2")]);
    let submitted = store.submit(&second).await;
    assert!(matches!(submitted, Submitted::Gap { .. }), "a store that has nothing: {submitted:?}");

    store.deliver(&batch(&[], vec![record(&device, TOPIC, 1, NOW, "1")])).await;
    let third = batch(&[(TOPIC, 2, 0)], vec![record(&device, TOPIC, 3, NOW, "3")]);
    let submitted = store.submit(&third).await;
    let Submitted::Gap { detail } = submitted else { panic!("{submitted:?}") };
    assert!(detail.contains("1:0") && detail.contains("2:0"), "{detail}");
    assert_eq!(store.last_state(&device).await, state("1", NOW));
    store.deliver(&second).await;
    store.deliver(&third).await;
    assert_eq!(store.history(&device).await.len(), 3);
}

pub(crate) async fn behind_a_batch_that_failed_there_is_no_gap<H: Harness>() {
    let harness = H::start().await;
    let device = unique_name("dev");
    let mut store = open(&harness, &unique_name("behind"), 1).await;
    let batches = run_of_batches(&device, 0);
    // The first is missing, which is a gap; that the third follows the second is not the store's fault.
    let second = store.writer.submit(batches[1].clone()).await;
    let third = store.writer.submit(batches[2].clone()).await;
    assert!(matches!(second.await, Submitted::Gap { .. }));
    let fourth = store.submit(&batches[3]).await;
    assert!(matches!(fourth, Submitted::Retry { .. }), "not before the third was answered: {fourth:?}");
    let third = third.await;
    assert!(matches!(third, Submitted::Retry { .. }), "{third:?}");
    for batch in &batches {
        store.deliver(batch).await;
    }
    assert_eq!(store.history(&device).await.len(), 40);
}

pub(crate) async fn a_superseded_owner_writes_nothing<H: Harness>() {
    let harness = H::start().await;
    let (topology, device) = (unique_name("fenced"), unique_name("dev"));
    let mut old = open(&harness, &topology, 4).await;
    let mut new = open(&harness, &topology, 5).await;
    old.deliver(&batch(&[], vec![record(&device, TOPIC, 1, NOW, "1")])).await;
    let cursor = new.writer.resume(0).await.unwrap();
    assert_eq!(cursor, Some(Cursor(vec![TopicOffset { topic: TOPIC, offset: 1 }])));

    // Taking over is enough: the new owner has not written yet.
    let submitted = old.submit(&batch(&[(TOPIC, 1, 0)], vec![record(&device, TOPIC, 2, NOW, "2")])).await;
    let Submitted::Fatal(text) = submitted else { panic!("{submitted:?}") };
    assert!(text.contains("epoch 4") && text.contains("epoch 5"), "{text}");
    assert_eq!(old.last_state(&device).await, state("1", NOW));
    let resumed = old.writer.resume(0).await;
    assert!(matches!(resumed, Err(StageError::Fatal(_))), "{resumed:?}");
}

pub(crate) async fn a_partition_that_was_never_written_resumes_at_nothing<H: Harness>() {
    let harness = H::start().await;
    let mut store = open(&harness, &unique_name("new"), 1).await;
    assert_eq!(store.writer.resume(3).await.unwrap(), Some(Cursor::default()));
}

pub(crate) async fn stages_topologies_and_partitions_have_guards_of_their_own<H: Harness>() {
    let harness = H::start().await;
    let (topology, device) = (unique_name("own"), unique_name("dev"));
    let mut store = open(&harness, &topology, 1).await;
    let mut other = open(&harness, &format!("{topology}x"), 1).await;
    let in_partition = |partition: i32| {
        let records = vec![record(&device, TOPIC, 7, NOW, &partition.to_string())];
        Arc::new(Batch::new(partition, records, Guards::none()))
    };
    store.deliver(&in_partition(0)).await;
    store.deliver(&in_partition(-1)).await;
    assert_eq!(store.history(&device).await.len(), 2, "the same offset of another partition is another record");
    for partition in [1, 256] {
        assert_eq!(store.writer.resume(partition).await.unwrap(), Some(Cursor::default()));
    }
    assert_eq!(other.writer.resume(0).await.unwrap(), Some(Cursor::default()));
    assert_eq!(store.writer.resume(-1).await.unwrap(), Some(Cursor(vec![TopicOffset { topic: TOPIC, offset: 7 }])));
}
