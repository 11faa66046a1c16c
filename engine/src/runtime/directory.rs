//! The devices that have a session, as the API sees them without asking a shard: those in memory with their presence, and
//! which others there are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use compact_str::CompactString;
use dashmap::{DashMap, DashSet};
use hashbrown::DefaultHashBuilder;

use crate::clock::Timestamp;
use crate::device_id::DeviceId;
use crate::keyed::Presence;

/// A shared map from device to presence. Shards write it, the API reads it.
#[derive(Clone, Debug, Default)]
pub struct Directory(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    groups: DashMap<u16, Group, DefaultHashBuilder>,
    /// The devices whose sessions have left memory, by hash. Two of one hash are taken for each other: the cost is a wrong
    /// "offline" for a device that nobody knows, once in 2^64.
    passivated: DashSet<u64, DefaultHashBuilder>,
    sessions: AtomicUsize,
    online: AtomicUsize,
}

/// How many groups the devices are spread over.
const GROUPS: u64 = 1 << 14;

/// The devices of one group, in no order.
///
/// One entry a device in the map itself would take twice its size, because a hash table of a million keeps as much room
/// free. A group is a list with little room to spare: some sixty entries at a million devices, looked through when a
/// presence changes or somebody asks, not with every record.
#[derive(Debug, Default)]
struct Group(Vec<(CompactString, Shown)>);

impl Group {
    /// The group of a device. The map's own tables go by other bits, of a hash of this number.
    fn of(device: &DeviceId) -> u16 {
        (device.hash64() % GROUPS) as u16
    }

    fn get(&self, device: &DeviceId) -> Option<Shown> {
        self.place(device).map(|place| self.0[place].1)
    }

    /// What was there before.
    fn insert(&mut self, device: &DeviceId, shown: Shown) -> Option<Shown> {
        if let Some(place) = self.place(device) {
            return Some(std::mem::replace(&mut self.0[place].1, shown));
        }
        if self.0.len() == self.0.capacity() {
            self.0.reserve_exact(1 + self.0.len() / 8);
        }
        self.0.push((device.name().clone(), shown));
        None
    }

    fn remove(&mut self, device: &DeviceId) -> Option<Shown> {
        let (_, shown) = self.0.swap_remove(self.place(device)?);
        if self.0.capacity() > 4 + 2 * self.0.len() {
            self.0.shrink_to_fit();
        }
        Some(shown)
    }

    fn place(&self, device: &DeviceId) -> Option<usize> {
        self.0.iter().position(|(name, _)| name == device.name())
    }
}

/// A presence in one word: since when, and whether online in the lowest bit.
#[derive(Clone, Copy, Debug)]
struct Shown(u64);

impl From<Presence> for Shown {
    fn from(presence: Presence) -> Self {
        Shown(presence.since.0 << 1 | u64::from(presence.online))
    }
}

impl From<Shown> for Presence {
    fn from(shown: Shown) -> Self {
        Presence { online: shown.is_online(), since: Timestamp(shown.0 >> 1) }
    }
}

impl Shown {
    fn is_online(self) -> bool {
        self.0 & 1 == 1
    }
}

impl Directory {
    /// A device's presence has changed.
    pub fn show(&self, device: &DeviceId, presence: Presence) {
        let before = self.0.groups.entry(Group::of(device)).or_default().insert(device, presence.into());
        let was_online = before.is_some_and(Shown::is_online);
        if presence.online && !was_online {
            self.0.online.fetch_add(1, Ordering::Relaxed);
        } else if !presence.online && was_online {
            self.0.online.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A device's session has left memory, and can be brought back.
    pub(crate) fn passivated(&self, device: &DeviceId) {
        self.hide(device);
        self.0.passivated.insert(device.hash64());
    }

    /// A passivated session is back, or its partition is somebody else's now.
    pub(crate) fn not_passivated(&self, hash: u64) {
        self.0.passivated.remove(&hash);
    }

    /// Whether a device has a session that has left memory. Such a device is offline.
    pub fn is_passivated(&self, device: &DeviceId) -> bool {
        self.0.passivated.contains(&device.hash64())
    }

    /// A device's session is no longer ours.
    pub fn hide(&self, device: &DeviceId) {
        let before = self.0.groups.get_mut(&Group::of(device)).and_then(|mut group| group.remove(device));
        if before.is_some_and(Shown::is_online) {
            self.0.online.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A device's presence, if it is known here.
    pub fn get(&self, device: &DeviceId) -> Option<Presence> {
        self.0.groups.get(&Group::of(device)).and_then(|group| group.get(device)).map(Presence::from)
    }

    /// The devices that are online, by name.
    pub fn online(&self) -> Vec<(DeviceId, Presence)> {
        let mut devices: Vec<(DeviceId, Presence)> = Vec::with_capacity(self.online_count());
        for group in &self.0.groups {
            let online = group.0.iter().filter(|(_, shown)| shown.is_online());
            devices.extend(online.map(|(name, shown)| (DeviceId::of_checked(name.clone()), (*shown).into())));
        }
        devices.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        devices
    }

    /// How many devices are online.
    pub fn online_count(&self) -> usize {
        self.0.online.load(Ordering::Relaxed)
    }

    /// How many devices have a session that has left memory.
    pub fn passivated_count(&self) -> usize {
        self.0.passivated.len()
    }

    /// How many sessions are in memory.
    pub fn session_count(&self) -> usize {
        self.0.sessions.load(Ordering::Relaxed)
    }

    /// Sessions have come into memory.
    pub(crate) fn sessions_opened(&self, count: usize) {
        self.0.sessions.fetch_add(count, Ordering::Relaxed);
    }

    /// Sessions have left memory.
    pub(crate) fn sessions_closed(&self, count: usize) {
        self.0.sessions.fetch_sub(count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn it_agrees_with_a_map(steps in proptest::collection::vec((0u32..50, any::<Option<bool>>(), 0u64..9), 0..300)) {
            let directory = Directory::default();
            let mut model: BTreeMap<DeviceId, Presence> = BTreeMap::new();
            for (n, online, since) in steps {
                let device: DeviceId = format!("d{n}").parse().unwrap();
                match online {
                    Some(online) => {
                        let presence = Presence { online, since: Timestamp(since) };
                        directory.show(&device, presence);
                        model.insert(device.clone(), presence);
                    }
                    None => {
                        directory.hide(&device);
                        model.remove(&device);
                    }
                }
                prop_assert_eq!(directory.get(&device), model.get(&device).copied());
                let online: Vec<_> = model.iter().filter(|(_, p)| p.online).map(|(d, p)| (d.clone(), *p)).collect();
                prop_assert_eq!(directory.online_count(), online.len());
                prop_assert_eq!(directory.online(), online);
            }
        }
    }

    #[test]
    fn a_group_keeps_little_room_to_spare() {
        let device = |n: usize| format!("d{n}").parse::<DeviceId>().unwrap();
        let mut group = Group::default();
        for n in 0..100 {
            group.insert(&device(n), Shown(0));
            assert!(group.0.capacity() <= 2 + n + n / 8, "{} for {n}", group.0.capacity());
        }
        (0..100).for_each(|n| assert!(group.remove(&device(n)).is_some()));
        assert!(group.0.capacity() <= 4);
    }
}
