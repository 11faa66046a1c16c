//! A state store and a log in memory.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use telemill_engine::checkpoint::{
    CheckpointDelta, CheckpointMeta, Claim, NoStore, Owner, Scope, SessionPage, SlotRecord, StateStore, StoreError,
};
use telemill_engine::device_id::DeviceId;
use telemill_engine::ports::{PortError, Recall, Taken};
use telemill_engine::position::Epoch;
use telemill_engine::record::Origin;
use ulid::Ulid;

/// What the store answers to a write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    #[default]
    Willing,
    Unavailable,
    Fencing,
}

/// Keeps slots; of all else it has nothing.
#[derive(Default)]
pub struct MemoryStore {
    slots: Mutex<BTreeMap<String, SlotRecord>>,
    writes: Mutex<Vec<SlotRecord>>,
    mood: Mutex<Mood>,
}

impl MemoryStore {
    /// The only slot's record.
    pub fn slot(&self) -> Option<SlotRecord> {
        self.slots.lock().unwrap().values().next().cloned()
    }

    /// All records ever written, in order.
    pub fn writes(&self) -> Vec<SlotRecord> {
        self.writes.lock().unwrap().clone()
    }

    /// From now on it is in this mood.
    pub fn set_mood(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }
}

#[async_trait]
impl StateStore for MemoryStore {
    async fn load_slot(&self, topology: &str, stage: &str, slot: u16) -> Result<Option<SlotRecord>, StoreError> {
        Ok(self.slots.lock().unwrap().get(&format!("{topology}:{stage}:{slot}")).cloned())
    }

    async fn save_slot(
        &self,
        topology: &str,
        stage: &str,
        slot: u16,
        epoch: Epoch,
        record: &SlotRecord,
    ) -> Result<(), StoreError> {
        match *self.mood.lock().unwrap() {
            Mood::Willing => {}
            Mood::Unavailable => return Err(StoreError::Unavailable("the store is away".to_owned())),
            Mood::Fencing => return Err(StoreError::Fenced { ours: epoch, theirs: Epoch(epoch.0 + 1) }),
        }
        self.writes.lock().unwrap().push(record.clone());
        self.slots.lock().unwrap().insert(format!("{topology}:{stage}:{slot}"), record.clone());
        Ok(())
    }

    async fn claim(&self, topology: &str, owner: &Owner) -> Result<Claim, StoreError> {
        NoStore.claim(topology, owner).await
    }
    async fn renew(&self, topology: &str, owner: &Owner, epoch: Epoch) -> Result<(), StoreError> {
        NoStore.renew(topology, owner, epoch).await
    }
    async fn release(&self, topology: &str, owner: &Owner, epoch: Epoch) -> Result<(), StoreError> {
        NoStore.release(topology, owner, epoch).await
    }
    async fn open(&self, scope: &Scope, epoch: Epoch) -> Result<Option<CheckpointMeta>, StoreError> {
        NoStore.open(scope, epoch).await
    }
    async fn load_live(&self, scope: &Scope, page: Option<u64>) -> Result<SessionPage, StoreError> {
        NoStore.load_live(scope, page).await
    }
    async fn load_passive_page(&self, scope: &Scope, page: Option<u64>) -> Result<SessionPage, StoreError> {
        NoStore.load_passive_page(scope, page).await
    }
    async fn number(&self, scope: &Scope) -> Result<u64, StoreError> {
        NoStore.number(scope).await
    }
    async fn load_passive(&self, scope: &Scope, devices: &[DeviceId]) -> Result<Vec<Option<Bytes>>, StoreError> {
        NoStore.load_passive(scope, devices).await
    }
    async fn save(&self, scope: &Scope, epoch: Epoch, delta: &CheckpointDelta) -> Result<(), StoreError> {
        NoStore.save(scope, epoch, delta).await
    }
}

/// A sink's memory of what it has taken.
#[derive(Default)]
pub struct ProducedLog {
    origins: Mutex<Vec<Origin>>,
    broken: Mutex<bool>,
}

impl ProducedLog {
    /// These are durable.
    pub fn has(&self, origins: impl IntoIterator<Item = Origin>) {
        self.origins.lock().unwrap().extend(origins);
    }

    /// From now on it cannot tell.
    pub fn break_down(&self) {
        *self.broken.lock().unwrap() = true;
    }
}

#[async_trait]
impl Recall for ProducedLog {
    async fn recall(&self, slot: u16, slot_session: Ulid, limit: usize) -> Result<Vec<Taken>, PortError> {
        if *self.broken.lock().unwrap() {
            return Err(PortError("the log is away".to_owned()));
        }
        let origins = self.origins.lock().unwrap();
        let own = origins.iter().rev().filter(|o| (o.slot, o.slot_session) == (slot, slot_session));
        Ok(own.take(limit).map(|origin| Taken { origin: *origin, given_up_by: None }).collect())
    }
}
