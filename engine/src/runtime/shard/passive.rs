//! Sessions that have left memory.
//!
//! A session with nothing to wait for leaves memory after `passivate_after` without a record, or earlier when the table
//! is full. It stays in the checkpoint, and comes back before its device's next record is stepped. Which devices have
//! one is known by hash, so that a device that was never seen costs no question to the store.

use std::collections::HashMap;

use bytes::Bytes;
use hashbrown::HashSet;
use tokio::time::sleep;

use crate::checkpoint::{Scope, StoreError};
use crate::clock::Timestamp;
use crate::device_id::DeviceId;
use crate::keyed::Now;
use crate::position::Position;
use crate::record::Record;
use crate::runtime::cell::{ExitReason, StageCommon};

use super::step::At;
use super::{ShardCell, codec};

/// Slots looked at for passivation after each batch or pause.
const SWEEP: usize = 64;

/// Which devices have a session outside memory.
#[derive(Debug, Default)]
pub(super) struct Passive {
    /// By hash; two devices of one hash cost a needless question.
    known: HashSet<u64>,
    /// Left memory since the last snapshot.
    leaving: HashMap<DeviceId, Bytes>,
    /// Left memory before the snapshot that is being saved.
    in_snapshot: HashMap<DeviceId, Bytes>,
}

impl Passive {
    /// A device has a passivated session in the checkpoint.
    pub(super) fn add(&mut self, device: &DeviceId) {
        self.known.insert(device.hash64());
    }

    /// The hashes of the devices.
    pub(super) fn hashes(&self) -> impl Iterator<Item = u64> + '_ {
        self.known.iter().copied()
    }

    /// What left since the last snapshot, for this one.
    pub(super) fn leave(&mut self) -> Vec<(DeviceId, Bytes)> {
        self.in_snapshot = std::mem::take(&mut self.leaving);
        self.in_snapshot.iter().map(|(device, bytes)| (device.clone(), bytes.clone())).collect()
    }

    /// The snapshot is in the store.
    pub(super) fn saved(&mut self) {
        self.in_snapshot.clear();
    }

    fn take(&mut self, device: &DeviceId) -> Option<Bytes> {
        self.leaving.remove(device).or_else(|| self.in_snapshot.get(device).cloned())
    }
}

impl ShardCell {
    /// Brings the sessions of these records' devices back into memory where they have left it.
    pub(super) async fn bring_back(&mut self, records: &[Record]) -> Result<(), ExitReason> {
        if self.passive.known.is_empty() {
            return Ok(());
        }
        let mut missing: Vec<DeviceId> = Vec::new();
        for record in records {
            let gone = self.passive.known.contains(&record.device.hash64())
                && self.sessions.table.find(&record.device).is_none();
            if gone && !missing.contains(&record.device) {
                missing.push(record.device.clone());
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let (here, there): (Vec<_>, Vec<_>) = missing
            .into_iter()
            .map(|device| (self.passive.take(&device), device))
            .partition(|(bytes, _)| bytes.is_some());
        let mut found: Vec<(DeviceId, Bytes)> = here.into_iter().filter_map(|(b, d)| Some((d, b?))).collect();
        let there: Vec<DeviceId> = there.into_iter().map(|(_, device)| device).collect();
        if !there.is_empty() {
            let common = self.group.stages[0].common.clone();
            let (sessions, number) = load(&common, &self.checkpointer.scope.clone(), &there).await?;
            if !self.checkpointer.knows(number) {
                // A session that is missing there, or an older one, would be taken for the device's last.
                return Err(ExitReason::Failed("the state store was rolled back under its checkpoint".to_owned()));
            }
            found.extend(there.into_iter().zip(sessions).filter_map(|(device, bytes)| Some((device, bytes?))));
        }
        for (device, bytes) in found {
            self.is_back(&device);
            let now = self.clock.now();
            let slot = self.sessions.restore(device, &bytes, &self.layout, now).map_err(ExitReason::Broken)?;
            // What left memory since the last checkpoint is not in the store: the next one has to write it.
            self.sessions.table.touch(slot);
            self.sessions.directory.session_opened();
        }
        Ok(())
    }

    /// Brings a session back that left memory since the last checkpoint was written.
    pub(super) fn come_back(&mut self, device: &DeviceId) -> Result<Option<u32>, ExitReason> {
        let Some(bytes) = self.passive.take(device) else { return Ok(None) };
        self.is_back(device);
        let now = self.clock.now();
        let slot = self.sessions.restore(device.clone(), &bytes, &self.layout, now).map_err(ExitReason::Broken)?;
        self.sessions.table.touch(slot);
        Ok(Some(slot))
    }

    /// Lets go of some sessions that have had nothing to do for long.
    pub(super) fn passivate(&mut self) {
        let now = self.clock.now();
        for slot in self.sessions.table.sweep(SWEEP) {
            let idle = self
                .sessions
                .table
                .get(slot)
                .is_some_and(|s| now.since(s.last_seen) >= self.group.limits.passivate_after);
            if idle && self.sessions.may_leave(slot, self.at(self.wall())) {
                self.leave(slot);
            }
        }
    }

    /// The table is full: lets go of the session that was silent longest among those looked at, other than `keep`.
    pub(super) fn evict(&mut self, keep: u32) {
        let at = self.at(self.wall());
        let candidates = self.sessions.table.sweep(SWEEP);
        let able = candidates.into_iter().filter(|slot| *slot != keep && self.sessions.may_leave(*slot, at));
        let seen = |slot: &u32| self.sessions.table.get(*slot).map(|s| s.last_seen);
        if let Some(slot) = able.collect::<Vec<_>>().into_iter().min_by_key(seen) {
            self.leave(slot);
        }
    }

    fn is_back(&mut self, device: &DeviceId) {
        self.passive.known.remove(&device.hash64());
        self.sessions.directory.not_passivated(device.hash64());
    }

    pub(super) fn leave(&mut self, slot: u32) {
        let Some((device, bytes)) = self.sessions.remove(slot) else { return };
        self.sessions.directory.passivated(&device);
        self.sessions.directory.sessions_closed(1);
        self.passive.add(&device);
        self.passive.leaving.insert(device, bytes);
    }
}

/// Sessions, and the number of the checkpoint that they are of.
async fn load(
    common: &StageCommon,
    scope: &Scope,
    devices: &[DeviceId],
) -> Result<(Vec<Option<Bytes>>, u64), ExitReason> {
    let (store, mut backoff) = (&common.cx.store, common.backoff());
    loop {
        let loaded = async { Ok((store.load_passive(scope, devices).await?, store.number(scope).await?)) };
        match loaded.await {
            Ok(loaded) => return Ok(loaded),
            Err(StoreError::Unavailable(_)) => sleep(backoff.next_delay()).await,
            Err(other) => return Err(ExitReason::Broken(other.to_string())),
        }
    }
}

impl super::step::Sessions {
    /// Whether a session has nothing to wait for.
    fn may_leave(&self, slot: u32, at: At) -> bool {
        let waits = self.table.get(slot).is_none() || self.table.inbox(slot).is_some();
        let now = Now { log: at.log, wall: at.wall, cursor: &self.cursor, cause: Position::default() };
        !waits && self.stages.iter().all(|s| s.host.may_passivate(slot, now))
    }

    /// A session for a device that has none.
    pub(super) fn open(&mut self, device: &DeviceId, at: At) -> u32 {
        let slot = self.table.insert(device.clone(), at.log);
        let now = Now { log: at.log, wall: at.wall, cursor: &self.cursor, cause: Position::default() };
        for stage in &mut self.stages {
            stage.host.open(slot, device, now);
        }
        slot
    }

    /// A session read from the checkpoint.
    pub(super) fn restore(
        &mut self,
        device: DeviceId,
        bytes: &[u8],
        layout: &[Option<(usize, u8)>],
        now: crate::clock::LogTime,
    ) -> Result<u32, String> {
        let form = codec::decode(bytes).map_err(|why| format!("session of {device}: {why}"))?;
        let slot = self.open(&device, At { log: now, wall: Timestamp::default(), cause: None, turn: 0 });
        if let Some(entry) = self.table.get_mut(slot) {
            entry.last_seen = form.last_seen;
        }
        for (index, stage) in self.stages.iter_mut().enumerate() {
            let Some((place, version)) = layout[index] else { continue };
            let state = form.states.get(place).ok_or_else(|| format!("session of {device} lacks a stage's state"))?;
            stage.host.close(slot);
            stage.host.decode(slot, version, state).map_err(|why| format!("session of {device}: {why}"))?;
        }
        for index in 0..self.stages.len() {
            self.stages[index].host.restored(slot, &mut self.scratch);
            if let Some(presence) = self.scratch.presence {
                self.directory.show(&device, presence);
            }
            if let Some(wake) = self.scratch.wake_at {
                self.table.set_wanted(slot, index, wake.unwrap_or(super::table::NEVER));
            }
            self.scratch.clear();
        }
        self.arm(slot);
        Ok(slot)
    }

    /// Takes a session out of memory; its form in a checkpoint.
    fn remove(&mut self, slot: u32) -> Option<(DeviceId, Bytes)> {
        let last_seen = self.table.get(slot)?.last_seen;
        let bytes = codec::encode(last_seen, slot, self.stages.iter().map(|s| &*s.host), &mut Vec::new());
        let entry = self.table.remove(slot)?;
        for stage in &mut self.stages {
            stage.host.close(slot);
        }
        Some((entry.device(), bytes))
    }
}
