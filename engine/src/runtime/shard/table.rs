//! Who is in a shard: device ids to slots.
//!
//! A slab of small slot entries and an index by the hash that the device id carries. The states themselves lie in the
//! keyed hosts, one slab a stage, under the same slot numbers.

use std::collections::{BTreeMap, VecDeque};

use compact_str::CompactString;
use hashbrown::HashTable;

use crate::clock::LogTime;
use crate::device_id::DeviceId;
use crate::record::Record;
use crate::retry::Backoff;

use super::step::At;

/// No wake-up is wanted, or none is in the wheel.
pub(super) const NEVER: LogTime = LogTime(u64::MAX);

/// What the shard knows of a session besides its states. There may be a million: what few sessions have is elsewhere.
#[derive(Debug)]
pub(super) struct Slot {
    /// The device, without its hash: that is in the index.
    pub(super) name: CompactString,
    /// When the last record came.
    pub(super) last_seen: LogTime,
    /// The earliest wake-up that lies in the wheel for this slot.
    pub(super) armed: LogTime,
}

impl Slot {
    /// The device. A record of it has that ready-made.
    pub(super) fn device(&self) -> DeviceId {
        DeviceId::of_checked(self.name.clone())
    }
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
    /// A stage is to be told that its device is forgotten.
    Forgotten(usize),
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
    /// For each stage, when it wants to be woken, by slot; as long as the highest slot for which it ever did.
    wanted: Vec<Vec<LogTime>>,
    /// One bit a slot: it changed since the last checkpoint.
    touched: Vec<u64>,
    /// What waits while a record of a device is tried again, by slot.
    inboxes: BTreeMap<u32, Inbox>,
    /// How many devices were ever taken out: while it stands still, a slot that was found stays the device's.
    removals: u64,
    hand: usize,
}

impl SessionTable {
    pub(super) fn new(stages: usize) -> Self {
        SessionTable { wanted: vec![Vec::new(); stages], ..SessionTable::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// When a device was last heard of, if it has a session here.
    pub(super) fn last_seen(&self, device: &DeviceId) -> Option<LogTime> {
        self.find(device).and_then(|slot| self.get(slot)).map(|slot| slot.last_seen)
    }

    pub(super) fn find(&self, device: &DeviceId) -> Option<u32> {
        let is_it = |slot: &u32| self.slots[*slot as usize].as_ref().is_some_and(|s| s.name == *device.name());
        self.index.find(device.hash64(), is_it).copied()
    }

    /// The number of devices that were taken out so far.
    pub(super) fn removals(&self) -> u64 {
        self.removals
    }

    /// Takes a device in. It must not be there yet.
    pub(super) fn insert(&mut self, device: DeviceId, last_seen: LogTime) -> u32 {
        let hash = device.hash64();
        let entry = Slot { name: device.into_name(), last_seen, armed: NEVER };
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                if self.slots.len().is_multiple_of(64) {
                    self.touched.push(0);
                }
                self.slots.push(None);
                (self.slots.len() - 1) as u32
            }
        };
        self.slots[slot as usize] = Some(entry);
        let slots = &self.slots;
        self.index.insert_unique(hash, slot, |s| slots[*s as usize].as_ref().map_or(0, |s| s.device().hash64()));
        slot
    }

    /// Takes a device out. What lies in the wheel for its slot will be recognised as nobody's.
    pub(super) fn remove(&mut self, slot: u32) -> Option<Slot> {
        let entry = self.slots[slot as usize].take()?;
        if let Ok(found) = self.index.find_entry(entry.device().hash64(), |s| *s == slot) {
            found.remove();
        }
        self.wanted.iter_mut().filter_map(|wanted| wanted.get_mut(slot as usize)).for_each(|at| *at = NEVER);
        self.touched[slot as usize / 64] &= !(1 << (slot % 64));
        self.inboxes.remove(&slot);
        self.removals += 1;
        self.free.push(slot);
        Some(entry)
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Slot> {
        self.slots.get(slot as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Slot> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// The next checkpoint has to write this session.
    pub(super) fn touch(&mut self, slot: u32) {
        self.touched[slot as usize / 64] |= 1 << (slot % 64);
    }

    /// The sessions touched since the last call, in the order in which they lie in memory.
    pub(super) fn take_touched(&mut self) -> Vec<u32> {
        let count: u32 = self.touched.iter().map(|word| word.count_ones()).sum();
        let mut slots = Vec::with_capacity(count as usize);
        for (first, word) in (0..).step_by(64).zip(&mut self.touched) {
            while *word != 0 {
                slots.push(first + word.trailing_zeros());
                *word &= *word - 1;
            }
        }
        slots
    }

    /// What waits for a session that backs off; none where nothing does.
    pub(super) fn inbox(&self, slot: u32) -> Option<&Inbox> {
        self.inboxes.get(&slot)
    }

    /// The same, to be changed. Nearly always there is none at all, and that is known without looking for it.
    pub(super) fn inbox_mut(&mut self, slot: u32) -> Option<&mut Inbox> {
        if self.inboxes.is_empty() { None } else { self.inboxes.get_mut(&slot) }
    }

    /// A session's inbox, a new one if it has none.
    pub(super) fn open_inbox(&mut self, slot: u32, new: impl FnOnce(&str) -> Inbox) -> &mut Inbox {
        let name = self.slots[slot as usize].as_ref().map(|entry| &entry.name);
        let name = name.expect("only sessions in the table are stepped, and one with an inbox stays");
        self.inboxes.entry(slot).or_insert_with(|| new(name))
    }

    /// Nothing waits for this session any more.
    pub(super) fn close_inbox(&mut self, slot: u32) {
        self.inboxes.remove(&slot);
    }

    /// All inboxes.
    pub(super) fn inboxes(&self) -> impl Iterator<Item = &Inbox> {
        self.inboxes.values()
    }

    /// When a stage wants to be woken.
    pub(super) fn wanted(&self, slot: u32, stage: usize) -> LogTime {
        self.wanted[stage].get(slot as usize).copied().unwrap_or(NEVER)
    }

    pub(super) fn set_wanted(&mut self, slot: u32, stage: usize, at: LogTime) {
        let wanted = &mut self.wanted[stage];
        if slot as usize >= wanted.len() {
            if at == NEVER {
                return;
            }
            wanted.resize(slot as usize + 1, NEVER);
        }
        wanted[slot as usize] = at;
    }

    /// The earliest time that any stage wants to be woken.
    pub(super) fn earliest_wanted(&self, slot: u32) -> LogTime {
        (0..self.wanted.len()).map(|stage| self.wanted(slot, stage)).min().unwrap_or(NEVER)
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
                        table.touch(slot);
                        model.insert(n, slot);
                    }
                    (false, Some(slot)) => {
                        prop_assert_eq!(table.remove(slot).map(|s| s.device()), Some(device));
                        model.remove(&n);
                    }
                    _ => {}
                }
                prop_assert_eq!(table.len(), model.len());
            }
            let mut left: Vec<u32> = model.into_values().collect();
            left.sort_unstable();
            prop_assert_eq!(table.take_touched(), left, "who has left is not written");
            prop_assert!(table.take_touched().is_empty());
        }
    }
}
