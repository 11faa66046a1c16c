//! What stays.

use std::collections::BTreeMap;

use telemill_engine::checkpoint::{CheckpointDelta, StoreError};
use telemill_engine::position::Epoch;

use super::checkpoints::{live, meta, passive, scope, session};
use super::slots::slot_record;
use super::{Harness, owner};

pub(crate) async fn what_was_saved_is_there_after_a_restart<H: Harness>() {
    let harness = H::start_own().await;
    let (store, scope) = (harness.store(), scope());
    let topology = scope.topology.clone();
    let epoch = store.claim(&topology, &owner(1)).await.unwrap().epoch;
    store.save_slot(&topology, "ingress", 0, epoch, &slot_record()).await.unwrap();
    let delta = CheckpointDelta {
        meta: meta(10),
        live: vec![session(1, 0)],
        passivated: vec![session(2, 0)],
        ..Default::default()
    };
    store.save(&scope, epoch, &delta).await.unwrap();
    store.release(&topology, &owner(1), epoch).await.unwrap();
    drop(store);

    let harness = harness.restart().await;
    let store = &*harness.store();
    let next = store.claim(&topology, &owner(2)).await.unwrap().epoch;
    assert_eq!(next, Epoch(epoch.0 + 1), "no epoch is given out twice");
    assert_eq!(store.load_slot(&topology, "ingress", 0).await.unwrap(), Some(slot_record()));
    assert_eq!(store.open(&scope, next).await.unwrap(), Some(meta(10)));
    assert_eq!(live(store, &scope).await, BTreeMap::from([session(1, 0)]));
    assert_eq!(passive(store, &scope).await, BTreeMap::from([session(2, 0)]));
    let refused = store.save(&scope, epoch, &delta).await;
    assert!(matches!(refused, Err(StoreError::Fenced { .. })), "{refused:?}");
}
