//! What a slot of an ingress knows of its broker session.

use serde::{Deserialize, Serialize};
use telemill_engine::checkpoint::{SlotRecord, StoreError};
use telemill_engine::position::Epoch;
use ulid::Ulid;

use super::{Refusal, json};
use crate::embedded::disk::Disk;

/// The record as it is stored.
#[derive(Serialize, Deserialize)]
struct Content {
    slot_session: Ulid,
    filters: Vec<String>,
    subscribed: bool,
}

fn key(topology: &str, stage: &str, slot: u16) -> Vec<u8> {
    let mut key = json::key(&["slot", topology, stage]);
    key.extend_from_slice(&slot.to_be_bytes());
    key
}

fn what(topology: &str, stage: &str, slot: u16) -> String {
    format!("slot {slot} of `{stage}` in `{topology}`")
}

pub(super) async fn load(
    disk: &Disk,
    topology: &str,
    stage: &str,
    slot: u16,
) -> Result<Option<SlotRecord>, StoreError> {
    let (key, what) = (key(topology, stage, slot), what(topology, stage, slot));
    let stored = disk.read(move |view| json::read::<Content>(view, &key, &what)).await?;
    Ok(stored.map(|stored| {
        let Content { slot_session, filters, subscribed } = stored.content;
        SlotRecord { slot_session, filters, subscribed }
    }))
}

pub(super) async fn save(
    disk: &Disk,
    topology: &str,
    stage: &str,
    slot: u16,
    epoch: Epoch,
    record: &SlotRecord,
) -> Result<(), StoreError> {
    let (key, what) = (key(topology, stage, slot), what(topology, stage, slot));
    let SlotRecord { slot_session, filters, subscribed } = record.clone();
    let saved = disk.write(move |tx| {
        json::read_own::<Content>(tx, &key, &what, epoch)?;
        json::write(tx, key.into(), epoch, Content { slot_session, filters, subscribed });
        Ok::<_, Refusal>(())
    });
    Ok(saved.await?)
}
