//! A state store for components that never ask it.

use async_trait::async_trait;
use bytes::Bytes;
use telemill_engine::checkpoint::{
    CheckpointDelta, CheckpointMeta, Claim, Owner, Scope, SessionPage, SlotRecord, StateStore, StoreError,
};
use telemill_engine::device_id::DeviceId;
use telemill_engine::position::Epoch;

pub struct NoStore;

fn none<T>() -> Result<T, StoreError> {
    Err(StoreError::Unavailable("there is no store in this test".to_owned()))
}

#[async_trait]
impl StateStore for NoStore {
    async fn claim(&self, _: &str, _: &Owner) -> Result<Claim, StoreError> {
        none()
    }
    async fn renew(&self, _: &str, _: &Owner, _: Epoch) -> Result<(), StoreError> {
        none()
    }
    async fn release(&self, _: &str, _: &Owner, _: Epoch) -> Result<(), StoreError> {
        none()
    }
    async fn load_slot(&self, _: &str, _: &str, _: u16) -> Result<Option<SlotRecord>, StoreError> {
        none()
    }
    async fn save_slot(&self, _: &str, _: &str, _: u16, _: Epoch, _: &SlotRecord) -> Result<(), StoreError> {
        none()
    }
    async fn open(&self, _: &Scope, _: Epoch) -> Result<Option<CheckpointMeta>, StoreError> {
        none()
    }
    async fn load_live(&self, _: &Scope, _: Option<u64>) -> Result<SessionPage, StoreError> {
        none()
    }
    async fn load_passive_page(&self, _: &Scope, _: Option<u64>) -> Result<SessionPage, StoreError> {
        none()
    }
    async fn number(&self, _: &Scope) -> Result<u64, StoreError> {
        none()
    }
    async fn load_passive(&self, _: &Scope, _: &[DeviceId]) -> Result<Vec<Option<Bytes>>, StoreError> {
        none()
    }
    async fn save(&self, _: &Scope, _: Epoch, _: &CheckpointDelta) -> Result<(), StoreError> {
        none()
    }
}
