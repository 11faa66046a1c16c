//! Checkpoints: what is saved is loaded, all or nothing, by its owner alone.

use std::collections::BTreeMap;

use bytes::Bytes;
use telemill_engine::checkpoint::{CheckpointDelta, CheckpointMeta, Scope, StateStore, StoreError};
use telemill_engine::clock::{LogTime, Timestamp};
use telemill_engine::device_id::DeviceId;
use telemill_engine::position::{Cursor, Epoch, Position, TopicOffset};
use telemill_services::unique_name;

use super::Harness;
use crate::conformance::records::TOPIC;

pub(crate) fn scope() -> Scope {
    Scope { topology: unique_name("checkpoint").into(), source: "events".into(), partition: 3 }
}

pub(crate) fn device(n: usize) -> DeviceId {
    format!("device-{n}").parse().unwrap()
}

pub(crate) fn session(n: usize, version: usize) -> (DeviceId, Bytes) {
    // Not text, and of no fixed length.
    (device(n), Bytes::from(vec![n as u8; 40 + version + n % 50]))
}

/// The meta of a scope's checkpoint number `offset / 10`.
pub(crate) fn meta(offset: i64) -> CheckpointMeta {
    CheckpointMeta {
        version: 1,
        number: offset as u64 / 10,
        cursor: Cursor(vec![TopicOffset { topic: TOPIC, offset }]),
        log_time: LogTime(12_345),
        marks: vec![(0, Timestamp(1_700_000_000_123), LogTime(12_000))],
        last_mark: Some(Position { topic: TOPIC, partition: 3, offset: 76, output: 0 }),
        journals: vec![("alert_stream".to_owned(), 77)],
        stages: vec![("sessions".to_owned(), 1), ("alerts".to_owned(), 2)],
        saved_at: Timestamp(1_700_000_000_456),
    }
}

pub(crate) async fn live(store: &dyn StateStore, scope: &Scope) -> BTreeMap<DeviceId, Bytes> {
    let mut sessions = BTreeMap::new();
    let mut page = None;
    loop {
        let loaded = store.load_live(scope, page).await.unwrap();
        sessions.extend(loaded.sessions);
        page = loaded.next;
        if page.is_none() {
            return sessions;
        }
    }
}

pub(crate) async fn passive(store: &dyn StateStore, scope: &Scope) -> BTreeMap<DeviceId, Bytes> {
    let mut sessions = BTreeMap::new();
    let mut page = None;
    loop {
        let loaded = store.load_passive_page(scope, page).await.unwrap();
        sessions.extend(loaded.sessions);
        page = loaded.next;
        if page.is_none() {
            break;
        }
    }
    let devices: Vec<DeviceId> = sessions.keys().cloned().collect();
    let asked_for = store.load_passive(scope, &devices).await.unwrap();
    assert!(asked_for.into_iter().eq(sessions.values().cloned().map(Some)), "by name as page by page");
    sessions
}

pub(crate) async fn a_hundred_thousand_sessions_are_read_back<H: Harness>() {
    const COUNT: usize = 100_000;
    let harness = H::start().await;
    let (store, scope) = (&*harness.store(), scope());
    assert_eq!(store.open(&scope, Epoch(4)).await.unwrap(), None);
    let mut expect: BTreeMap<_, _> = (0..COUNT).map(|n| session(n, 0)).collect();
    let first =
        CheckpointDelta { meta: meta(10), live: (0..COUNT).map(|n| session(n, 0)).collect(), ..Default::default() };
    store.save(&scope, Epoch(4), &first).await.unwrap();
    assert_eq!(store.open(&scope, Epoch(4)).await.unwrap(), Some(meta(10)));
    assert!(live(store, &scope).await == expect);
    assert!(passive(store, &scope).await.is_empty());

    // Some change, some leave memory, some are gone for good: of these, one that is passive.
    let second = CheckpointDelta {
        meta: meta(20),
        live: (0..30_000).map(|n| session(n, 1)).collect(),
        passivated: (30_000..60_000).map(|n| session(n, 1)).collect(),
        forgotten: (60_000..70_000).map(device).collect(),
    };
    store.save(&scope, Epoch(4), &second).await.unwrap();
    expect.extend((0..30_000).map(|n| session(n, 1)));
    (30_000..70_000).for_each(|n| drop(expect.remove(&device(n))));
    let mut expect_passive: BTreeMap<_, _> = (30_000..60_000).map(|n| session(n, 1)).collect();
    assert!(live(store, &scope).await == expect);
    assert!(passive(store, &scope).await == expect_passive);

    // One comes back, one is forgotten while passive.
    let third = CheckpointDelta {
        meta: meta(30),
        live: vec![session(30_000, 2)],
        passivated: Vec::new(),
        forgotten: vec![device(30_001)],
    };
    store.save(&scope, Epoch(4), &third).await.unwrap();
    expect.extend([session(30_000, 2)]);
    expect_passive.remove(&device(30_000));
    expect_passive.remove(&device(30_001));
    assert!(live(store, &scope).await == expect);
    assert!(passive(store, &scope).await == expect_passive);
    assert_eq!(store.open(&scope, Epoch(4)).await.unwrap(), Some(meta(30)));
    let some = store.load_passive(&scope, &[device(40_000), device(1), device(30_000)]).await.unwrap();
    assert_eq!(some, [Some(session(40_000, 1).1), None, None]);
}

pub(crate) async fn a_superseded_owner_saves_nothing<H: Harness>() {
    let harness = H::start().await;
    let (store, scope) = (&*harness.store(), scope());
    store.open(&scope, Epoch(4)).await.unwrap();
    let delta =
        |offset, version| CheckpointDelta { meta: meta(offset), live: vec![session(1, version)], ..Default::default() };
    store.save(&scope, Epoch(4), &delta(10, 0)).await.unwrap();
    // Opening it is enough to own it.
    assert_eq!(store.open(&scope, Epoch(5)).await.unwrap(), Some(meta(10)));
    let refused = store.save(&scope, Epoch(4), &delta(20, 1)).await;
    assert!(matches!(refused, Err(StoreError::Fenced { ours: Epoch(4), theirs: Epoch(5) })), "{refused:?}");
    let refused = store.open(&scope, Epoch(4)).await;
    assert!(matches!(refused, Err(StoreError::Fenced { .. })), "{refused:?}");
    assert_eq!(live(store, &scope).await, BTreeMap::from([session(1, 0)]));
    assert_eq!(store.open(&scope, Epoch(5)).await.unwrap(), Some(meta(10)));
}

pub(crate) async fn a_delta_goes_only_onto_the_one_before_it<H: Harness>() {
    let harness = H::start().await;
    let (store, scope) = (&*harness.store(), scope());
    store.open(&scope, Epoch(4)).await.unwrap();
    assert_eq!(store.number(&scope).await.unwrap(), 0);
    let delta = |number: i64| CheckpointDelta {
        meta: meta(number * 10),
        live: vec![session(1, number as usize)],
        ..Default::default()
    };
    let refused = store.save(&scope, Epoch(4), &delta(2)).await;
    assert!(matches!(refused, Err(StoreError::RolledBack { number: 2, stored: 0 })), "{refused:?}");
    store.save(&scope, Epoch(4), &delta(1)).await.unwrap();
    store.save(&scope, Epoch(4), &delta(2)).await.unwrap();
    // As after an answer that was lost.
    store.save(&scope, Epoch(4), &delta(2)).await.unwrap();
    for number in [1, 4] {
        let refused = store.save(&scope, Epoch(4), &delta(number)).await;
        let right = matches!(refused, Err(StoreError::RolledBack { number: n, stored: 2 }) if n == number as u64);
        assert!(right, "{refused:?}");
    }
    assert_eq!(store.number(&scope).await.unwrap(), 2);
    assert_eq!(live(store, &scope).await, BTreeMap::from([session(1, 2)]));
    assert_eq!(store.open(&scope, Epoch(4)).await.unwrap(), Some(meta(20)));
}

pub(crate) async fn scopes_are_apart<H: Harness>() {
    let harness = H::start().await;
    let (store, scope) = (&*harness.store(), scope());
    let delta = CheckpointDelta {
        meta: meta(10),
        live: vec![session(1, 0)],
        passivated: vec![session(2, 0)],
        ..Default::default()
    };
    store.save(&scope, Epoch(4), &delta).await.unwrap();
    let others = [
        Scope { partition: 4, ..scope.clone() },
        Scope { source: "event".into(), ..scope.clone() },
        Scope { topology: format!("{}x", scope.topology).into(), ..scope.clone() },
    ];
    for other in &others {
        assert_eq!(store.open(other, Epoch(1)).await.unwrap(), None, "{other}");
        assert!(live(store, other).await.is_empty() && passive(store, other).await.is_empty(), "{other}");
        assert_eq!(store.load_passive(other, &[device(2)]).await.unwrap(), [None], "{other}");
    }
    assert_eq!(live(store, &scope).await, BTreeMap::from([session(1, 0)]));
}
