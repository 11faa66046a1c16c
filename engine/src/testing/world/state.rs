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
use crate::position::{Cursor, Epoch, Partition, TopicId};

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
    scopes: BTreeMap<Partition, Stored>,
    slots: BTreeMap<(String, u16), (Epoch, SlotRecord)>,
    saves: usize,
}

/// The checkpoint of one partition.
#[derive(Default)]
struct Stored {
    epoch: Epoch,
    now: Saved,
    /// What it was after each write.
    past: Vec<Saved>,
    /// The furthest cursor that there ever was, roll-backs or not.
    furthest: Cursor,
}

#[derive(Clone, Default)]
struct Saved {
    meta: Option<CheckpointMeta>,
    live: BTreeMap<DeviceId, Bytes>,
    passive: BTreeMap<DeviceId, Bytes>,
}

/// What was in the checkpoints.
pub(super) struct StateCopy(BTreeMap<Partition, Saved>);

impl StateCopy {
    /// Whether every partition had a checkpoint.
    pub(super) fn has_all(&self, partitions: i32) -> bool {
        (0..partitions).all(|partition| self.0.get(&partition).is_some_and(|saved| saved.meta.is_some()))
    }
}

impl SimState {
    pub(super) fn new(trouble: Arc<Trouble>) -> Self {
        SimState { trouble, inner: Mutex::default() }
    }

    /// The cursor of a partition's checkpoint.
    pub fn cursor(&self, partition: Partition) -> Cursor {
        let inner = self.lock();
        let meta = inner.scopes.get(&partition).and_then(|s| s.now.meta.as_ref());
        meta.map_or_else(Cursor::default, |meta| meta.cursor.clone())
    }

    /// How many checkpoints were written.
    pub fn saves(&self) -> usize {
        self.lock().saves
    }

    /// Behind the furthest that a partition's checkpoints have ever come in a topic; `None` if nobody ever opened it.
    pub fn furthest(&self, topic: TopicId, partition: Partition) -> Option<i64> {
        let inner = self.lock();
        Some(inner.scopes.get(&partition)?.furthest.get(topic).map_or(0, |offset| offset + 1))
    }

    /// How often a partition's checkpoint was written.
    pub fn writes(&self, partition: Partition) -> usize {
        self.lock().scopes.get(&partition).map_or(0, |stored| stored.past.len())
    }

    /// A partition's checkpoint goes back to what it was after its `write`-th write, as a store restored from a copy
    /// does. Fences stay.
    pub fn roll_back(&self, partition: Partition, write: usize) {
        let mut inner = self.lock();
        let Some(stored) = inner.scopes.get_mut(&partition) else { return };
        stored.past.truncate(write);
        stored.now = stored.past.last().cloned().unwrap_or_default();
    }

    pub(super) fn copy(&self) -> StateCopy {
        StateCopy(self.lock().scopes.iter().map(|(partition, stored)| (*partition, stored.now.clone())).collect())
    }

    pub(super) fn restore(&self, mut copy: StateCopy) {
        for (partition, stored) in &mut self.lock().scopes {
            stored.now = copy.0.remove(partition).unwrap_or_default();
            // What was restored counts as written: behind it there is no checkpoint at all.
            stored.past = stored.now.meta.is_some().then(|| stored.now.clone()).into_iter().collect();
        }
    }

    /// The devices with a live and with a passive session.
    pub fn sessions(&self) -> (Vec<DeviceId>, Vec<DeviceId>) {
        let inner = self.lock();
        let of = |pick: fn(&Saved) -> &BTreeMap<DeviceId, Bytes>| {
            inner.scopes.values().flat_map(|s| pick(&s.now).keys().cloned()).collect()
        };
        (of(|s| &s.live), of(|s| &s.passive))
    }

    fn available(&self, what: &str) -> Result<(), StoreError> {
        match self.trouble.is_down("state") || self.trouble.fails(what) {
            true => Err(StoreError::Unavailable("injected: the state store is away".to_owned())),
            false => Ok(()),
        }
    }

    fn write(&self, scope: &Scope, epoch: Epoch, delta: &CheckpointDelta) -> Result<(), StoreError> {
        let mut inner = self.lock();
        inner.saves += 1;
        let Stored { epoch: owner, now: saved, past, furthest } = inner.scopes.entry(scope.partition).or_default();
        if *owner > epoch {
            return Err(StoreError::Fenced { ours: epoch, theirs: *owner });
        }
        delta.fits(saved.meta.as_ref().map_or(0, |meta| meta.number))?;
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
        delta.meta.cursor.0.iter().for_each(|at| furthest.advance(at.topic, at.offset));
        past.push(saved.clone());
        drop(inner);
        self.trouble.note(|| format!("checkpoint {} at {:?}", scope.partition, delta.meta.cursor));
        Ok(())
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
        self.trouble.step().await;
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

    async fn load_slot(&self, _: &str, stage: &str, slot: u16) -> Result<Option<SlotRecord>, StoreError> {
        self.available("load_slot")?;
        Ok(self.lock().slots.get(&(stage.to_owned(), slot)).map(|(_, record)| record.clone()))
    }

    async fn save_slot(
        &self,
        _: &str,
        stage: &str,
        slot: u16,
        epoch: Epoch,
        record: &SlotRecord,
    ) -> Result<(), StoreError> {
        self.available("save_slot")?;
        self.trouble.step().await;
        let mut inner = self.lock();
        let key = (stage.to_owned(), slot);
        match inner.slots.get(&key) {
            Some((theirs, _)) if *theirs > epoch => Err(StoreError::Fenced { ours: epoch, theirs: *theirs }),
            _ => {
                inner.slots.insert(key, (epoch, record.clone()));
                Ok(())
            }
        }
    }

    async fn open(&self, scope: &Scope, epoch: Epoch) -> Result<Option<CheckpointMeta>, StoreError> {
        self.available("open")?;
        self.trouble.step().await;
        let mut inner = self.lock();
        let saved = inner.scopes.entry(scope.partition).or_default();
        if saved.epoch > epoch {
            return Err(StoreError::Fenced { ours: epoch, theirs: saved.epoch });
        }
        saved.epoch = epoch;
        Ok(saved.now.meta.clone())
    }

    async fn load_live(&self, scope: &Scope, from: Option<u64>) -> Result<SessionPage, StoreError> {
        self.available("load_live")?;
        let mut inner = self.lock();
        let saved = &inner.scopes.entry(scope.partition).or_default().now;
        let (sessions, next) = page(saved.live.iter().map(|(d, b)| (d.clone(), b.clone())), from);
        Ok(SessionPage { sessions, next })
    }

    async fn load_passive_page(&self, scope: &Scope, from: Option<u64>) -> Result<SessionPage, StoreError> {
        self.available("load_passive_page")?;
        let mut inner = self.lock();
        let saved = &inner.scopes.entry(scope.partition).or_default().now;
        let (sessions, next) = page(saved.passive.iter().map(|(d, b)| (d.clone(), b.clone())), from);
        Ok(SessionPage { sessions, next })
    }

    async fn number(&self, scope: &Scope) -> Result<u64, StoreError> {
        self.available("number")?;
        let inner = self.lock();
        Ok(inner.scopes.get(&scope.partition).and_then(|s| s.now.meta.as_ref()).map_or(0, |meta| meta.number))
    }

    async fn load_passive(&self, scope: &Scope, devices: &[DeviceId]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.available("load_passive")?;
        let mut inner = self.lock();
        let saved = &inner.scopes.entry(scope.partition).or_default().now;
        Ok(devices.iter().map(|device| saved.passive.get(device).cloned()).collect())
    }

    async fn save(&self, scope: &Scope, epoch: Epoch, delta: &CheckpointDelta) -> Result<(), StoreError> {
        self.available("save")?;
        tokio::time::sleep(self.trouble.delay()).await;
        self.available("save")?;
        self.trouble.step().await;
        self.write(scope, epoch, delta)?;
        self.trouble.step().await;
        if self.trouble.loses_answer("save") {
            return Err(StoreError::Unavailable("injected: the answer is lost".to_owned()));
        }
        Ok(())
    }
}
