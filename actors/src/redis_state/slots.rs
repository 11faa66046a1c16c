//! What a slot of an ingress knows of its broker session.

use std::sync::LazyLock;

use redis::{Script, Value, cmd};
use serde::{Deserialize, Serialize};
use telemill_engine::checkpoint::{SlotRecord, StoreError};
use telemill_engine::position::Epoch;
use ulid::Ulid;

use super::run;
use crate::redis::Link;

static SAVE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("save_slot.lua")));

const VERSION: u16 = 1;

/// The record as it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    v: u16,
    slot_session: Ulid,
    filters: Vec<String>,
    subscribed: bool,
    epoch: u64,
}

fn key(topology: &str, stage: &str, slot: u16) -> String {
    format!("telemill:slot:{topology}:{stage}:{slot}")
}

pub(super) async fn load(
    link: &Link,
    topology: &str,
    stage: &str,
    slot: u16,
) -> Result<Option<SlotRecord>, StoreError> {
    let key = key(topology, stage, slot);
    let stored = match link.query(cmd("GET").arg(&key)).await? {
        Value::Nil => return Ok(None),
        Value::BulkString(json) => serde_json::from_slice::<Stored>(&json)
            .map_err(|error| StoreError::Corrupt(format!("`{key}` cannot be read: {error}")))?,
        other => return Err(StoreError::Corrupt(format!("`{key}` holds {other:?}"))),
    };
    if stored.v != VERSION {
        return Err(StoreError::Corrupt(format!("`{key}` has version {}, not {VERSION}", stored.v)));
    }
    let Stored { slot_session, filters, subscribed, .. } = stored;
    Ok(Some(SlotRecord { slot_session, filters, subscribed }))
}

pub(super) async fn save(
    link: &Link,
    topology: &str,
    stage: &str,
    slot: u16,
    epoch: Epoch,
    record: &SlotRecord,
) -> Result<(), StoreError> {
    let stored = Stored {
        v: VERSION,
        slot_session: record.slot_session,
        filters: record.filters.clone(),
        subscribed: record.subscribed,
        epoch: epoch.0,
    };
    let json = serde_json::to_vec(&stored).expect("strings, numbers and a flag are JSON");
    let key = key(topology, stage, slot);
    run(link, &SAVE, &[&key], &[epoch.0.to_string().as_bytes(), &json], epoch).await.map(drop)
}
