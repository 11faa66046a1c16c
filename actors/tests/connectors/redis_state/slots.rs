//! Slot records.

use telemill_engine::checkpoint::{SlotRecord, StateStore, StoreError};
use telemill_engine::position::Epoch;
use telemill_services::{Services, unique_name};
use ulid::Ulid;

use super::store;
use crate::redis_support::client;

#[tokio::test]
async fn a_slot_is_read_back_and_kept_from_a_superseded_owner() {
    let url = Services::shared().redis_url();
    let (store, topology) = (store(url), unique_name("slots"));
    assert_eq!(store.load_slot(&topology, "ingress", 2).await.unwrap(), None);
    let mut record = SlotRecord {
        slot_session: Ulid::from_parts(1, 2),
        filters: vec!["devices/+/data".to_owned(), "devices/+/hello".to_owned()],
        subscribed: false,
    };
    store.save_slot(&topology, "ingress", 2, Epoch(5), &record).await.unwrap();
    assert_eq!(store.load_slot(&topology, "ingress", 2).await.unwrap().as_ref(), Some(&record));

    let key = format!("telemill:slot:{topology}:ingress:2");
    let stored: String = redis::cmd("GET").arg(&key).query_async(&mut client(url).await).await.unwrap();
    let expect = concat!(
        r#"{"v":1,"slot_session":"00000000010000000000000002","#,
        r#""filters":["devices/+/data","devices/+/hello"],"subscribed":false,"epoch":5}"#
    );
    assert_eq!(stored, expect);

    let before = record.clone();
    record.subscribed = true;
    let refused = store.save_slot(&topology, "ingress", 2, Epoch(4), &record).await;
    assert!(matches!(refused, Err(StoreError::Fenced { ours: Epoch(4), theirs: Epoch(5) })), "{refused:?}");
    assert_eq!(store.load_slot(&topology, "ingress", 2).await.unwrap(), Some(before));
    store.save_slot(&topology, "ingress", 2, Epoch(6), &record).await.unwrap();
    assert_eq!(store.load_slot(&topology, "ingress", 2).await.unwrap(), Some(record));
}
