//! Who is in a shard: device ids to slots.
//!
//! A slab of small slot entries and an index by the hash that the device id carries. The states themselves lie in the
//! keyed hosts, one slab a stage, under the same slot numbers.

use std::collections::VecDeque;

use hashbrown::HashTable;

use crate::clock::LogTime;
use crate::device_id::DeviceId;
use crate::record::Record;
use crate::retry::Backoff;

use super::step::At;

/// No wake-up is wanted, or none is in the wheel.
pub(super) const NEVER: LogTime = LogTime(u64::MAX);

/// What the shard knows of a session besides its states.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) device: DeviceId,
    /// When the last record came.
    pub(super) last_seen: LogTime,
    /// The earliest wake-up that lies in the wheel for this slot.
    pub(super) armed: LogTime,
    /// Changed since the last checkpoint.
    pub(super) dirty: bool,
    /// What waits while a record of this device is tried again. Allocated only then.
    pub(super) inbox: Option<Box<Inbox>>,
}

/// The queue of a session that is backing off.
#[derive(Debug)]
pub(super) struct Inbox {
    /// What is tried again comes first; all else waits behind it.
    pub(super) queue: VecDeque<Parked>,
    /// Tries of the first.
    pub(super) attempts: u32,
    /// Whether the first waits for its back-off to pass, rather than being tried right now.
    pub(super) waiting: bool,
    pub(super) backoff: Backoff,
}

impl Inbox {
    /// Puts an input in its place: behind those of the same and of earlier turns.
    pub(super) fn put(&mut self, parked: Parked) {
        let behind = self.queue.iter().rev().take_while(|other| other.at.turn > parked.at.turn).count();
        self.queue.insert(self.queue.len() - behind, parked);
    }
}

/// What waits in an inbox.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all that waits are records; boxing them would cost each an allocation"
)]
pub(super) enum Waiting {
    /// A record for a stage.
    Record(usize, Record),
    /// A stage's timer.
    Timer(usize),
    /// Time has moved: whatever timers of the stages from this one on are due by then.
    Tick(usize),
}

/// An input that waits.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) what: Waiting,
    /// When it should have happened.
    pub(super) at: At,
    /// Whether the stage has it in its ledger already.
    pub(super) counted: bool,
}

/// The sessions in memory.
#[derive(Debug, Default)]
pub(super) struct SessionTable {
    index: HashTable<u32>,
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    /// For each slot and stage, when the stage wants to be woken.
    wanted: Vec<LogTime>,
    stages: usize,
    hand: usize,
}

impl SessionTable {
    pub(super) fn new(stages: usize) -> Self {
        SessionTable { stages, ..SessionTable::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn find(&self, device: &DeviceId) -> Option<u32> {
        let is_it = |slot: &u32| self.slots[*slot as usize].as_ref().is_some_and(|s| s.device == *device);
        self.index.find(device.hash64(), is_it).copied()
    }

    /// Takes a device in. It must not be there yet.
    pub(super) fn insert(&mut self, device: DeviceId, last_seen: LogTime) -> u32 {
        let hash = device.hash64();
        let entry = Slot { device, last_seen, armed: NEVER, dirty: false, inbox: None };
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                self.wanted.extend(std::iter::repeat_n(NEVER, self.stages));
                (self.slots.len() - 1) as u32
            }
        };
        self.slots[slot as usize] = Some(entry);
        let slots = &self.slots;
        self.index.insert_unique(hash, slot, |s| slots[*s as usize].as_ref().map_or(0, |s| s.device.hash64()));
        slot
    }

    /// Takes a device out. What lies in the wheel for its slot will be recognised as nobody's.
    pub(super) fn remove(&mut self, slot: u32) -> Option<Slot> {
        let entry = self.slots[slot as usize].take()?;
        if let Ok(found) = self.index.find_entry(entry.device.hash64(), |s| *s == slot) {
            found.remove();
        }
        let at = slot as usize * self.stages;
        self.wanted[at..at + self.stages].fill(NEVER);
        self.free.push(slot);
        Some(entry)
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Slot> {
        self.slots.get(slot as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Slot> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// When a stage wants to be woken.
    pub(super) fn wanted(&self, slot: u32, stage: usize) -> LogTime {
        self.wanted[slot as usize * self.stages + stage]
    }

    pub(super) fn set_wanted(&mut self, slot: u32, stage: usize, at: LogTime) {
        self.wanted[slot as usize * self.stages + stage] = at;
    }

    /// The earliest time that any stage wants to be woken.
    pub(super) fn earliest_wanted(&self, slot: u32) -> LogTime {
        let at = slot as usize * self.stages;
        self.wanted[at..at + self.stages].iter().copied().min().unwrap_or(NEVER)
    }

    /// The next `count` occupied slots, going round and round.
    pub(super) fn sweep(&mut self, count: usize) -> Vec<u32> {
        let mut found = Vec::new();
        for _ in 0..count.min(self.slots.len()) {
            self.hand = (self.hand + 1) % self.slots.len();
            if self.slots[self.hand].is_some() {
                found.push(self.hand as u32);
            }
        }
        found
    }

    /// All occupied slots.
    pub(super) fn occupied(&self) -> impl Iterator<Item = (u32, &Slot)> {
        self.slots.iter().enumerate().filter_map(|(n, slot)| slot.as_ref().map(|slot| (n as u32, slot)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn it_agrees_with_a_map(steps in proptest::collection::vec((0u8..40, any::<bool>()), 0..300)) {
            let mut table = SessionTable::new(2);
            let mut model: HashMap<u8, u32> = HashMap::new();
            for (n, add) in steps {
                let device: DeviceId = format!("d{n}").parse().unwrap();
                prop_assert_eq!(table.find(&device), model.get(&n).copied());
                match (add, model.get(&n).copied()) {
                    (true, None) => {
                        let slot = table.insert(device, LogTime(0));
                        prop_assert_eq!(table.earliest_wanted(slot), NEVER, "nothing is left of who was there before");
                        table.set_wanted(slot, 1, LogTime(5));
                        model.insert(n, slot);
                    }
                    (false, Some(slot)) => {
                        prop_assert_eq!(table.remove(slot).map(|s| s.device), Some(device));
                        model.remove(&n);
                    }
                    _ => {}
                }
                prop_assert_eq!(table.len(), model.len());
            }
        }
    }
}
