//! A state store in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use telemill_engine::checkpoint::{
    CheckpointDelta, CheckpointMeta, Claim, Owner, Scope, SessionPage, SlotRecord, StateStore, StoreError,
};
use telemill_engine::device_id::DeviceId;
use telemill_engine::position::Epoch;

/// Sessions on one page.
const PAGE: usize = 1000;

/// Keeps the checkpoint of one partition, or only counts it. What is kept is put in its place by a thread of its own:
/// elsewhere that is another process.
#[derive(Clone, Default)]
pub struct MemoryStore {
    keeps_sessions: bool,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    epoch: u64,
    saves: usize,
    sessions: usize,
    meta: Option<CheckpointMeta>,
    live: HashMap<DeviceId, Bytes>,
    /// Made when it is first read.
    pages: Vec<(DeviceId, Bytes)>,
}

impl MemoryStore {
    /// A store that keeps everything.
    pub fn keeping() -> Self {
        MemoryStore { keeps_sessions: true, ..MemoryStore::default() }
    }

    /// A store that keeps nothing of the sessions: for what is measured by the memory it takes.
    pub fn counting() -> Self {
        MemoryStore::default()
    }

    /// How many checkpoints were written, and how many sessions with them.
    pub fn written(&self) -> (usize, usize) {
        let inner = self.lock();
        (inner.saves, inner.sessions)
    }

    /// Puts what it has on pages, and says how much that is: not to be counted to those who read it.
    pub fn lay_out(&self) -> usize {
        let mut inner = self.lock();
        inner.pages = inner.live.iter().map(|(device, bytes)| (device.clone(), bytes.clone())).collect();
        inner.pages.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl StateStore for MemoryStore {
    async fn claim(&self, _: &str, _: &Owner) -> Result<Claim, StoreError> {
        let mut inner = self.lock();
        inner.epoch += 1;
        Ok(Claim { epoch: Epoch(inner.epoch), lease: Duration::from_secs(3600) })
    }

    async fn renew(&self, _: &str, _: &Owner, _: Epoch) -> Result<(), StoreError> {
        Ok(())
    }

    async fn release(&self, _: &str, _: &Owner, _: Epoch) -> Result<(), StoreError> {
        Ok(())
    }

    async fn load_slot(&self, _: &str, _: &str, _: u16) -> Result<Option<SlotRecord>, StoreError> {
        Ok(None)
    }

    async fn save_slot(&self, _: &str, _: &str, _: u16, _: Epoch, _: &SlotRecord) -> Result<(), StoreError> {
        Ok(())
    }

    async fn open(&self, _: &Scope, _: Epoch) -> Result<Option<CheckpointMeta>, StoreError> {
        Ok(self.lock().meta.clone())
    }

    async fn load_live(&self, _: &Scope, from: Option<u64>) -> Result<SessionPage, StoreError> {
        let inner = self.lock();
        let from = from.unwrap_or(0) as usize;
        let to = inner.pages.len().min(from + PAGE);
        let next = (to < inner.pages.len()).then_some(to as u64);
        Ok(SessionPage { sessions: inner.pages[from..to].to_vec(), next })
    }

    async fn load_passive_page(&self, _: &Scope, _: Option<u64>) -> Result<SessionPage, StoreError> {
        Ok(SessionPage::default())
    }

    async fn number(&self, _: &Scope) -> Result<u64, StoreError> {
        Ok(self.lock().meta.as_ref().map_or(0, |meta| meta.number))
    }

    async fn load_passive(&self, _: &Scope, devices: &[DeviceId]) -> Result<Vec<Option<Bytes>>, StoreError> {
        Ok(vec![None; devices.len()])
    }

    async fn save(&self, _: &Scope, _: Epoch, delta: &CheckpointDelta) -> Result<(), StoreError> {
        {
            let mut inner = self.lock();
            inner.saves += 1;
            inner.sessions += delta.live.len();
            inner.meta = Some(delta.meta.clone());
        }
        if self.keeps_sessions {
            let (live, store) = (delta.live.clone(), self.clone());
            let kept = tokio::task::spawn_blocking(move || store.lock().live.extend(live)).await;
            kept.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        }
        Ok(())
    }
}
