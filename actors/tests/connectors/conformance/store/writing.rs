//! What a batch leaves in the store.

use std::collections::VecDeque;
use std::sync::Arc;

use telemill_engine::clock::Timestamp;
use telemill_engine::position::{Cursor, TopicOffset};
use telemill_engine::record::{DeadReason, EventId, Kind, Reason, Record};
use telemill_engine::sink::{Completion, Sink, Submitted};
use telemill_services::unique_name;
use ulid::Ulid;

use super::{Harness, id, open, state, unguarded};
use crate::conformance::records::{
    NOW, OTHER_TOPIC, TOPIC, batch, message, messages, messages_of, record, run_of_batches,
};

pub(crate) async fn state_history_and_updates_are_exact<H: Harness>() {
    let harness = H::start().await;
    let (a, b) = (unique_name("dev"), unique_name("dev"));
    let mut store = open(&harness, &unique_name("exact"), 7).await;
    let (mut heard_a, mut heard_b) = (store.listen(&a).await, store.listen(&b).await);
    let records = vec![
        record(&a, TOPIC, 10, NOW, r#"{"t": 1.50}"#),
        record(&b, TOPIC, 11, NOW, "\"ö\""),
        record(&a, TOPIC, 14, NOW + 1, "[1, 2]"),
        record(&a, OTHER_TOPIC, 3, NOW + 1, "true"),
    ];
    store.deliver(&batch(&[], records.clone())).await;
    assert_eq!(store.last_state(&a).await, state("true", NOW + 1));
    assert_eq!(store.last_state(&b).await, state("\"ö\"", NOW));
    let of_a = [0, 2, 3].map(|n| message(&records[n]));
    assert_eq!(store.history(&a).await, of_a);
    assert_eq!(store.history(&b).await, [message(&records[1])]);
    assert_eq!(store.heard(&mut heard_a).await, (of_a.to_vec(), 0));
    assert_eq!(store.heard(&mut heard_b).await, (vec![message(&records[1])], 0));
}

pub(crate) async fn what_is_older_than_the_history_is_trimmed<H: Harness>() {
    let harness = H::start().await;
    let device = unique_name("dev");
    let mut store = open(&harness, &unique_name("trim"), 1).await;
    let old = record(&device, TOPIC, 1, NOW - 18_001, "1");
    let edge = record(&device, TOPIC, 2, NOW - 18_000, "2");
    store.deliver(&batch(&[], vec![old, edge.clone()])).await;
    assert_eq!(store.history(&device).await.len(), 2);
    let new = record(&device, TOPIC, 3, NOW, "3");
    store.deliver(&batch(&[(TOPIC, 2, 0)], vec![new.clone()])).await;
    assert_eq!(store.history(&device).await, messages(&[edge, new]), "exactly five hours old stays");
}

/// A trim goes by the newest record of its own batch: what comes late is no older than that, and stays until the next.
pub(crate) async fn what_is_late_is_kept_until_the_next_trim<H: Harness>() {
    let harness = H::start().await;
    let device = unique_name("dev");
    let mut store = open(&harness, &unique_name("late"), 1).await;
    let at = |offset, secs| record(&device, TOPIC, offset, secs, &offset.to_string());
    let hour = 3_600;
    // Five hours in all: the first two are trimmed by the third.
    let first = [at(1, NOW - 30 * hour), at(2, NOW - 6 * hour)];
    store.deliver(&batch(&[], first.to_vec())).await;
    let third = at(3, NOW);
    store.deliver(&batch(&[], vec![third.clone()])).await;
    assert_eq!(store.history(&device).await, messages(std::slice::from_ref(&third)));
    // Between what is trimmed: neither must come back with it.
    let late = [at(4, NOW - 7 * hour), at(5, NOW - 5 * hour - 1)];
    store.deliver(&batch(&[], late.to_vec())).await;
    assert_eq!(store.history(&device).await, messages(&[late[0].clone(), late[1].clone(), third.clone()]));
    assert_eq!(store.last_state(&device).await, state("5", NOW - 5 * hour - 1), "the last one written is the state");
    let next = at(6, NOW + 1);
    store.deliver(&batch(&[], vec![next.clone()])).await;
    assert_eq!(store.history(&device).await, messages(&[third, next]));
}

/// What a batch brings and trims itself is gone for good, too.
pub(crate) async fn what_is_trimmed_by_its_own_batch_does_not_come_back<H: Harness>() {
    let harness = H::start().await;
    let device = unique_name("dev");
    let mut store = open(&harness, &unique_name("own"), 1).await;
    let at = |offset, secs| record(&device, TOPIC, offset, secs, &offset.to_string());
    let new = at(2, NOW);
    store.deliver(&batch(&[], vec![at(1, NOW - 20_000), new.clone()])).await;
    assert_eq!(store.history(&device).await, messages(std::slice::from_ref(&new)));
    let late = at(3, NOW - 30_000);
    store.deliver(&batch(&[], vec![late.clone()])).await;
    assert_eq!(store.history(&device).await, messages(&[late, new]));
}

pub(crate) async fn what_is_no_state_only_moves_the_guard<H: Harness>() {
    let harness = H::start().await;
    let device = unique_name("dev");
    let mut store = open(&harness, &unique_name("kinds"), 1).await;
    let mut heard = store.listen(&device).await;
    let of_kind = |offset, kind, payload| Record { kind, ..record(&device, TOPIC, offset, NOW, payload) };
    let why = DeadReason {
        reason: Reason::PANIC,
        detail: "on purpose".into(),
        stage: "sessions".into(),
        attempts: 3,
        source: Default::default(),
    };
    let records = vec![
        of_kind(1, Kind::Hello, r#"{"up":1}"#),
        of_kind(2, Kind::Hello, "null"),
        of_kind(3, Kind::Mark, "{}"),
        of_kind(4, Kind::Command, "{}"),
        Record { dead: Some(Arc::new(why)), ..record(&device, TOPIC, 5, NOW, "5") },
    ];
    store.deliver(&batch(&[], records.clone())).await;
    assert_eq!(
        store.last_state(&device).await,
        state(r#"{"up":1}"#, NOW),
        "a keep-alive that says something is written"
    );
    assert_eq!(store.history(&device).await, [message(&records[0])]);
    let cursor = store.writer.resume(0).await.unwrap();
    assert_eq!(cursor, Some(Cursor(vec![TopicOffset { topic: TOPIC, offset: 5 }])));
    assert_eq!(store.heard(&mut heard).await.0, [message(&records[0])]);
}

pub(crate) async fn records_without_a_position_are_written_at_least_once<H: Harness>() {
    let harness = H::start().await;
    let device = unique_name("dev");
    let mut store = open(&harness, &unique_name("made"), 1).await;
    let mut heard = store.listen(&device).await;
    let made = |n, payload: &'static str| {
        let id_of_record = EventId(Ulid::from_parts(NOW * 1000, n));
        Record::new(id_of_record, id(&device), Kind::Data, payload.as_bytes().into(), Timestamp(NOW * 1000))
    };
    let records = [made(1, r#"{"mean":3}"#), made(2, "")];
    for _ in 0..2 {
        store.deliver(&unguarded(&records)).await;
    }
    assert_eq!(store.last_state(&device).await, state("null", NOW));
    assert_eq!(store.history(&device).await, messages(&records), "the same message is in the history once");
    assert_eq!(store.writer.resume(0).await.unwrap(), Some(Cursor::default()), "there is no guard");
    assert_eq!(store.heard(&mut heard).await.0, [messages(&records), messages(&records)].concat());
}

pub(crate) async fn a_batch_may_be_large<H: Harness>() {
    let harness = H::start().await;
    let device = unique_name("dev");
    let mut store = open(&harness, &unique_name("large"), 1).await;
    let records: Vec<_> = (0..20_000).map(|n| record(&device, TOPIC, n, NOW, &n.to_string())).collect();
    store.deliver(&batch(&[], records.clone())).await;
    assert!(store.history(&device).await == messages(&records));
    assert_eq!(store.last_state(&device).await, state("19999", NOW));
}

pub(crate) async fn batches_in_flight_apply_in_order<H: Harness>() {
    let harness = H::start().await;
    let device = unique_name("dev");
    let mut store = open(&harness, &unique_name("flight"), 1).await;
    assert_eq!(store.writer.window(), 4);
    let mut heard = store.listen(&device).await;
    let batches = run_of_batches(&device, 0);
    let mut in_flight: VecDeque<Completion> = VecDeque::new();
    for batch in &batches {
        if in_flight.len() == store.writer.window() {
            let first = in_flight.pop_front().unwrap().await;
            assert!(matches!(first, Submitted::Delivered), "{first:?}");
        }
        in_flight.push_back(store.writer.submit(batch.clone()).await);
    }
    for completion in in_flight {
        let submitted = completion.await;
        assert!(matches!(submitted, Submitted::Delivered), "{submitted:?}");
    }
    assert_eq!(store.history(&device).await, messages_of(&batches));
    assert_eq!(store.heard(&mut heard).await, (messages_of(&batches), 0));
}
