//! The devices whose sessions are in memory, as the API sees them without asking a shard.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;

use crate::device_id::DeviceId;
use crate::keyed::Presence;

/// A shared map from device to presence. Shards write it, the API reads it.
#[derive(Clone, Debug, Default)]
pub struct Directory(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    devices: DashMap<DeviceId, Presence>,
    sessions: AtomicUsize,
    online: AtomicUsize,
}

impl Directory {
    /// A device's presence has changed.
    pub fn show(&self, device: &DeviceId, presence: Presence) {
        let before = self.0.devices.insert(device.clone(), presence);
        let was_online = before.is_some_and(|p| p.online);
        if presence.online && !was_online {
            self.0.online.fetch_add(1, Ordering::Relaxed);
        } else if !presence.online && was_online {
            self.0.online.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A device's session has left memory.
    pub fn hide(&self, device: &DeviceId) {
        if self.0.devices.remove(device).is_some_and(|(_, presence)| presence.online) {
            self.0.online.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A device's presence, if it is known here.
    pub fn get(&self, device: &DeviceId) -> Option<Presence> {
        self.0.devices.get(device).map(|entry| *entry.value())
    }

    /// The devices that are online, by name.
    pub fn online(&self) -> Vec<(DeviceId, Presence)> {
        let online = self.0.devices.iter().filter(|e| e.value().online);
        let mut devices: Vec<_> = online.map(|e| (e.key().clone(), *e.value())).collect();
        devices.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        devices
    }

    /// How many devices are online.
    pub fn online_count(&self) -> usize {
        self.0.online.load(Ordering::Relaxed)
    }

    /// How many sessions are in memory.
    pub fn session_count(&self) -> usize {
        self.0.sessions.load(Ordering::Relaxed)
    }

    /// A session has come into memory; how many there are now.
    pub(crate) fn session_opened(&self) -> usize {
        self.0.sessions.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Sessions have been read into memory.
    pub(crate) fn sessions_opened(&self, count: usize) {
        self.0.sessions.fetch_add(count, Ordering::Relaxed);
    }

    /// Sessions have left memory.
    pub(crate) fn sessions_closed(&self, count: usize) {
        self.0.sessions.fetch_sub(count, Ordering::Relaxed);
    }
}
