//! Sessions that have left memory.
//!
//! A session with nothing to wait for leaves memory after `passivate_after` without a record. It stays in the
//! checkpoint, and comes back before its device's next record is stepped. Which devices have one, and when they were last
//! heard of, is kept, so that a device that was never seen costs no question to the store, and so that one that was
//! silent too long can be forgotten without asking for it.

use std::collections::HashMap;

use bytes::Bytes;
use compact_str::CompactString;
use hashbrown::HashTable;
use tokio::time::sleep;

use crate::checkpoint::{Scope, StoreError};
use crate::clock::{LogTime, Timestamp};
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
    /// When each was last heard of.
    known: HashTable<(CompactString, LogTime)>,
    /// Left memory since the last snapshot.
    leaving: HashMap<DeviceId, Bytes>,
    /// Left memory before the snapshot that is being saved.
    in_snapshot: HashMap<DeviceId, Bytes>,
}

impl Passive {
    /// A device has a passivated session in the checkpoint.
    pub(super) fn add(&mut self, device: &DeviceId, last_seen: LogTime) {
        let is_it = |(name, _): &(CompactString, LogTime)| name == device.name();
        let hash = |(name, _): &(CompactString, LogTime)| DeviceId::of_checked(name.clone()).hash64();
        self.known.entry(device.hash64(), is_it, hash).insert((device.name().clone(), last_seen));
    }

    /// The number of devices.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// When a device was last heard of, if its session is outside memory.
    pub(super) fn last_seen(&self, device: &DeviceId) -> Option<LogTime> {
        self.known.find(device.hash64(), |(name, _)| name == device.name()).map(|(_, seen)| *seen)
    }

    /// The devices and when each was last heard of.
    pub(super) fn iter(&self) -> impl Iterator<Item = (LogTime, &CompactString)> {
        self.known.iter().map(|(name, seen)| (*seen, name))
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

    /// The device has no session outside memory any more; whether it had one. What is on its way to the store is not
    /// looked at again.
    pub(super) fn remove(&mut self, device: &DeviceId) -> bool {
        let found = self.known.find_entry(device.hash64(), |(name, _)| name == device.name());
        let was_known = found.map(|entry| drop(entry.remove())).is_ok();
        self.leaving.remove(device);
        self.in_snapshot.remove(device);
        was_known
    }

    /// The session of a device, where it is not in the store yet.
    fn unsaved(&self, device: &DeviceId) -> Option<Bytes> {
        self.leaving.get(device).or_else(|| self.in_snapshot.get(device)).cloned()
    }
}

impl ShardCell {
    /// Brings the sessions of these records' devices back into memory where they have left it.
    pub(super) async fn bring_back(&mut self, records: &[Record]) -> Result<(), ExitReason> {
        if self.passive.len() == 0 {
            return Ok(());
        }
        let mut found: Vec<(DeviceId, Option<Bytes>)> = Vec::new();
        let mut stored: Vec<DeviceId> = Vec::new();
        for record in records {
            let device = &record.device;
            if self.passive.last_seen(device).is_none() {
                continue;
            }
            let unsaved = self.passive.unsaved(device);
            self.passive.remove(device);
            match unsaved {
                Some(bytes) => found.push((device.clone(), Some(bytes))),
                None => stored.push(device.clone()),
            }
        }
        if !stored.is_empty() {
            let common = self.group.stages[0].common.clone();
            let (sessions, number) = load(&common, &self.checkpointer.scope.clone(), &stored).await?;
            if !self.checkpointer.knows(number) {
                // A session that is missing there, or an older one, would be taken for the device's last.
                return Err(ExitReason::Failed("the state store was rolled back under its checkpoint".to_owned()));
            }
            found.extend(stored.into_iter().zip(sessions));
        }
        for (device, bytes) in found {
            self.sessions.directory.not_passivated(device.hash64());
            let Some(bytes) = bytes else { continue };
            let now = self.clock.now();
            let slot = self.sessions.restore(device, &bytes, &self.layout, now).map_err(ExitReason::Broken)?;
            // What left memory since the last checkpoint is not in the store: the next one has to write it.
            self.sessions.table.touch(slot);
            self.sessions.directory.sessions_opened(1);
        }
        Ok(())
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

    pub(super) fn leave(&mut self, slot: u32) {
        let Some((device, last_seen, bytes)) = self.sessions.take_out(slot) else { return };
        self.sessions.directory.passivated(&device);
        self.sessions.directory.sessions_closed(1);
        self.passive.add(&device, last_seen);
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

    /// A session read from the checkpoint.
    pub(super) fn restore(
        &mut self,
        device: DeviceId,
        bytes: &[u8],
        layout: &[Option<(usize, u8)>],
        now: LogTime,
    ) -> Result<u32, String> {
        let form = codec::decode(bytes).map_err(|why| format!("session of {device}: {why}"))?;
        let slot = self.open(&device, At { log: now, wall: Timestamp::default(), cause: None, turn: 0 }, None);
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

    /// Takes a session out of memory; when its device was last heard of, and its form in a checkpoint.
    fn take_out(&mut self, slot: u32) -> Option<(DeviceId, LogTime, Bytes)> {
        let last_seen = self.table.get(slot)?.last_seen;
        let bytes = codec::encode(last_seen, slot, self.stages.iter().map(|s| &*s.host), &mut Vec::new());
        Some((self.close(slot)?, last_seen, bytes))
    }
}
