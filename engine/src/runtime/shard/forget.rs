//! Devices that are forgotten.
//!
//! A shard knows at most its share of `max_sessions`, in memory and outside together; for one device more, the one that
//! was silent longest is forgotten. With `forget_after`, so is every device that was silent so long. Both are decided by
//! the log alone, on the shard's own time, so a replay after a crash forgets the same devices at the same places.
//!
//! A session in memory is told first ([`Input::Forgotten`](crate::keyed::Input)), so that nobody goes on believing that
//! the device is online or its alert active. One that is backing off is waited for: what it has in hand is not lost.
//! From then on the device is like one that was never seen.

use compact_str::CompactString;
use tokio::time::{Instant, sleep_until};

use crate::clock::LogTime;
use crate::device_id::DeviceId;
use crate::keyed::Now;
use crate::position::Position;
use crate::record::{EventId, Reason};

use super::ShardCell;
use super::step::{At, Given, Sessions};

/// There was no room for one more device.
const FULL: Reason = Reason("max_sessions");
/// The device was silent for `forget_after`.
const SILENT: Reason = Reason("forget_after");

/// How many forgotten devices may wait for the checkpoint that says so, before no more is taken in.
pub(super) const MAX_FORGOTTEN: usize = 65_536;

/// A session has to come to the end of what it has in hand before anything else happens.
pub(super) struct Busy(u32);

impl ShardCell {
    /// The devices that have a session, in memory or outside.
    fn known(&self) -> usize {
        self.sessions.table.len() + self.passive.len()
    }

    /// Makes room for one more device.
    pub(super) fn make_room(&mut self, at: At) -> Result<(), Busy> {
        while self.known() >= self.max_devices {
            let Some(device) = self.silent_since(LogTime(u64::MAX)) else { return Ok(()) };
            self.forget(&device, FULL, at)?;
        }
        Ok(())
    }

    /// Forgets whoever was silent for too long.
    pub(super) fn forget_silent(&mut self, at: At) -> Result<(), Busy> {
        let Some(after) = self.group.limits.forget_after else { return Ok(()) };
        let Some(upto) = at.log.0.checked_sub(after.as_millis() as u64).map(LogTime) else { return Ok(()) };
        while let Some(device) = self.silent_since(upto) {
            self.forget(&device, SILENT, at)?;
        }
        Ok(())
    }

    /// The device that was silent longest, if it was last heard of at `upto` or before.
    fn silent_since(&mut self, upto: LogTime) -> Option<DeviceId> {
        let count = self.known();
        let (table, passive) = (&self.sessions.table, &self.passive);
        let last_seen = |name: &CompactString| {
            let device = DeviceId::of_checked(name.clone());
            table.last_seen(&device).or_else(|| passive.last_seen(&device))
        };
        let everybody = || table.occupied().map(|(_, slot)| (slot.last_seen, &slot.name)).chain(passive.iter());
        let name = self.sessions.silence.longest(upto, count, last_seen, everybody)?;
        Some(DeviceId::of_checked(name))
    }

    fn forget(&mut self, device: &DeviceId, why: Reason, at: At) -> Result<(), Busy> {
        match self.sessions.table.find(device) {
            Some(slot) => {
                self.say_farewell(slot, at)?;
                self.sessions.close(slot);
                self.sessions.directory.hide(device);
                self.sessions.directory.sessions_closed(1);
            }
            None => {
                self.passive.remove(device);
                self.sessions.directory.not_passivated(device.hash64());
            }
        }
        self.forgotten.insert(device.clone());
        self.entry_metrics().forgot(why);
        self.group.forgets.forgot(&self.group.stages[0].common.cx, why);
        Ok(())
    }

    /// Tells every stage that the device in `slot` is forgotten.
    fn say_farewell(&mut self, slot: u32, at: At) -> Result<(), Busy> {
        let sessions = &mut self.sessions;
        if sessions.table.inbox(slot).is_none() && self.leaving != Some(slot) {
            for stage in 0..sessions.stages.len() {
                let at = At { turn: sessions.next_turn(), ..at };
                sessions.step_or_park(stage, slot, Given::Forgotten, at, true);
            }
            self.leaving = Some(slot);
        }
        if sessions.table.inbox(slot).is_some() {
            return Err(Busy(slot));
        }
        self.leaving = None;
        Ok(())
    }

    /// Waits until a session has nothing left in hand.
    pub(super) async fn finish(&mut self, Busy(slot): Busy) {
        while self.sessions.table.inbox(slot).is_some() {
            if let Some((at, _)) = self.sessions.retries.first() {
                sleep_until(*at).await;
            }
            self.sessions.retry_due(Instant::now());
        }
    }
}

impl Sessions {
    /// A session for a device that has none, opened by the record `first` if it is one that does.
    pub(super) fn open(&mut self, device: &DeviceId, at: At, first: Option<EventId>) -> u32 {
        let slot = self.table.insert(device.clone(), at.log);
        let now = Now { log: at.log, wall: at.wall, cursor: &self.cursor, cause: Position::default() };
        for stage in &mut self.stages {
            stage.host.open(slot, device, first, now);
        }
        slot
    }

    /// Takes a session out of memory.
    pub(super) fn close(&mut self, slot: u32) -> Option<DeviceId> {
        let entry = self.table.remove(slot)?;
        for stage in &mut self.stages {
            stage.host.close(slot);
        }
        Some(entry.device())
    }
}
