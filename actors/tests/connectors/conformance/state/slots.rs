//! Slot records.

use telemill_engine::checkpoint::{SlotRecord, StoreError};
use telemill_engine::position::Epoch;
use telemill_services::unique_name;
use ulid::Ulid;

use super::Harness;

pub(crate) fn slot_record() -> SlotRecord {
    SlotRecord {
        slot_session: Ulid::from_parts(1, 2),
        filters: vec!["devices/+/data".to_owned(), "devices/+/hello".to_owned()],
        subscribed: false,
    }
}

pub(crate) async fn a_slot_is_read_back_and_kept_from_a_superseded_owner<H: Harness>() {
    let harness = H::start().await;
    let (store, topology) = (harness.store(), unique_name("slots"));
    assert_eq!(store.load_slot(&topology, "ingress", 2).await.unwrap(), None);
    let mut record = slot_record();
    store.save_slot(&topology, "ingress", 2, Epoch(5), &record).await.unwrap();
    assert_eq!(store.load_slot(&topology, "ingress", 2).await.unwrap().as_ref(), Some(&record));
    assert_eq!(store.load_slot(&topology, "ingress", 3).await.unwrap(), None);

    let before = record.clone();
    record.subscribed = true;
    let refused = store.save_slot(&topology, "ingress", 2, Epoch(4), &record).await;
    assert!(matches!(refused, Err(StoreError::Fenced { ours: Epoch(4), theirs: Epoch(5) })), "{refused:?}");
    assert_eq!(store.load_slot(&topology, "ingress", 2).await.unwrap(), Some(before));
    store.save_slot(&topology, "ingress", 2, Epoch(6), &record).await.unwrap();
    assert_eq!(store.load_slot(&topology, "ingress", 2).await.unwrap(), Some(record));
}
