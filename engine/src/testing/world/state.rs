//! A state store: claims, and checkpoints that are atomic and fenced by epochs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::checkpoint::{
    CheckpointDelta, CheckpointMeta, Claim, Owner, Scope, SessionPage, SlotRecord, StateStore, StoreError,
};
use crate::device_id::DeviceId;
use crate::position::{Cursor, Epoch, Partition};

use super::Trouble;

/// Sessions on one page.
const PAGE: usize = 3;

/// The state store of a simulated world.
pub struct SimState {
    trouble: Arc<Trouble>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    epoch: u64,
    scopes: BTreeMap<Partition, Saved>,
    saves: usize,
}

#[derive(Default)]
struct Saved {
    epoch: Epoch,
    meta: Option<CheckpointMeta>,
    live: BTreeMap<DeviceId, Bytes>,
    passive: BTreeMap<DeviceId, Bytes>,
}

impl SimState {
    pub(super) fn new(trouble: Arc<Trouble>) -> Self {
        SimState { trouble, inner: Mutex::default() }
    }

    /// The cursor of a partition's checkpoint.
    pub fn cursor(&self, partition: Partition) -> Cursor {
        let inner = self.lock();
        let meta = inner.scopes.get(&partition).and_then(|s| s.meta.as_ref());
        meta.map_or_else(Cursor::default, |meta| meta.cursor.clone())
    }

    /// How many checkpoints were written.
    pub fn saves(&self) -> usize {
        self.lock().saves
    }

    /// The devices with a live and with a passive session.
    pub fn sessions(&self) -> (Vec<DeviceId>, Vec<DeviceId>) {
        let inner = self.lock();
        let of = |pick: fn(&Saved) -> &BTreeMap<DeviceId, Bytes>| {
            inner.scopes.values().flat_map(|s| pick(s).keys().cloned()).collect()
        };
        (of(|s| &s.live), of(|s| &s.passive))
    }

    fn available(&self, what: &str) -> Result<(), StoreError> {
        match self.trouble.is_down("state") || self.trouble.fails(what) {
            true => Err(StoreError::Unavailable("injected: the state store is away".to_owned())),
            false => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn page<T>(all: impl Iterator<Item = T>, from: Option<u64>) -> (Vec<T>, Option<u64>) {
    let from = from.unwrap_or(0) as usize;
    let mut rest = all.skip(from).peekable();
    let items: Vec<T> = rest.by_ref().take(PAGE).collect();
    let next = rest.peek().map(|_| (from + PAGE) as u64);
    (items, next)
}

#[async_trait]
impl StateStore for SimState {
    async fn claim(&self, _: &str, _: &Owner) -> Result<Claim, StoreError> {
        self.available("claim")?;
        let mut inner = self.lock();
        inner.epoch += 1;
        Ok(Claim { epoch: Epoch(inner.epoch), lease: Duration::from_secs(30) })
    }

    async fn renew(&self, _: &str, _: &Owner, epoch: Epoch) -> Result<(), StoreError> {
        self.available("renew")?;
        let theirs = Epoch(self.lock().epoch);
        if theirs == epoch { Ok(()) } else { Err(StoreError::Fenced { ours: epoch, theirs }) }
    }

    async fn release(&self, _: &str, _: &Owner, _: Epoch) -> Result<(), StoreError> {
        self.available("release")
    }

    async fn load_slot(&self, _: &str, _: &str, _: u16) -> Result<Option<SlotRecord>, StoreError> {
        Ok(None)
    }

    async fn save_slot(&self, _: &str, _: &str, _: u16, _: Epoch, _: &SlotRecord) -> Result<(), StoreError> {
        Ok(())
    }

    async fn open(&self, scope: &Scope, epoch: Epoch) -> Result<Option<CheckpointMeta>, StoreError> {
        self.available("open")?;
        let mut inner = self.lock();
        let saved = inner.scopes.entry(scope.partition).or_default();
        if saved.epoch > epoch {
            return Err(StoreError::Fenced { ours: epoch, theirs: saved.epoch });
        }
        saved.epoch = epoch;
        Ok(saved.meta.clone())
    }

    async fn load_live(&self, scope: &Scope, from: Option<u64>) -> Result<SessionPage, StoreError> {
        self.available("load_live")?;
        let mut inner = self.lock();
        let saved = inner.scopes.entry(scope.partition).or_default();
        let (sessions, next) = page(saved.live.iter().map(|(d, b)| (d.clone(), b.clone())), from);
        Ok(SessionPage { sessions, next })
    }

    async fn list_passive(&self, scope: &Scope, from: Option<u64>) -> Result<(Vec<DeviceId>, Option<u64>), StoreError> {
        self.available("list_passive")?;
        let mut inner = self.lock();
        let saved = inner.scopes.entry(scope.partition).or_default();
        Ok(page(saved.passive.keys().cloned(), from))
    }

    async fn load_passive(&self, scope: &Scope, devices: &[DeviceId]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.available("load_passive")?;
        let mut inner = self.lock();
        let saved = inner.scopes.entry(scope.partition).or_default();
        Ok(devices.iter().map(|device| saved.passive.get(device).cloned()).collect())
    }

    async fn save(&self, scope: &Scope, epoch: Epoch, delta: &CheckpointDelta) -> Result<(), StoreError> {
        self.available("save")?;
        tokio::time::sleep(self.trouble.delay()).await;
        self.available("save")?;
        let mut inner = self.lock();
        inner.saves += 1;
        let saved = inner.scopes.entry(scope.partition).or_default();
        if saved.epoch > epoch {
            return Err(StoreError::Fenced { ours: epoch, theirs: saved.epoch });
        }
        for (device, bytes) in &delta.live {
            saved.passive.remove(device);
            saved.live.insert(device.clone(), bytes.clone());
        }
        for (device, bytes) in &delta.passivated {
            saved.live.remove(device);
            saved.passive.insert(device.clone(), bytes.clone());
        }
        for device in &delta.forgotten {
            saved.live.remove(device);
            saved.passive.remove(device);
        }
        saved.meta = Some(delta.meta.clone());
        drop(inner);
        self.trouble.note(|| format!("checkpoint {} at {:?}", scope.partition, delta.meta.cursor));
        if self.trouble.loses_answer("save") {
            return Err(StoreError::Unavailable("injected: the answer is lost".to_owned()));
        }
        Ok(())
    }
}
