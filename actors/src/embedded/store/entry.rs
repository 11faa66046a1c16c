//! A device's entry, the keys of its history, and the times at which history goes.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use telemill_engine::device_id::DeviceId;
use telemill_engine::record::EventId;
use xxhash_rust::xxh3::xxh3_64;

use super::Refusal;
use crate::embedded::disk::{KeyRange, Read, Space};

pub(super) const DEVICES: Space = Space("devices");
pub(super) const HISTORY: Space = Space("history");
pub(super) const EXPIRY: Space = Space("expiry");

const VERSION: u8 = 1;
const FIXED: usize = 33;

/// What is kept of a device besides its history. All times are whole seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// Of the last state.
    pub(super) timestamp: u64,
    /// What is older is trimmed, whether it was removed yet or not.
    pub(super) hidden_below: u64,
    /// Nothing older is there.
    pub(super) removed_below: u64,
    /// From this second of wall time on the history is gone; 0: there is none.
    pub(super) expires: u64,
    /// The device's JSON.
    pub(super) payload: Bytes,
}

impl Entry {
    /// The entry of a device, if it has one.
    pub(super) fn read(from: &impl Read, device: &DeviceId) -> Result<Option<Entry>, Refusal> {
        let stored = from.get(DEVICES, device.as_str().as_bytes())?;
        stored.map(|stored| Self::parse(device, &stored)).transpose()
    }

    /// The entry of a device as it is stored.
    pub(super) fn parse(device: &DeviceId, stored: &Bytes) -> Result<Entry, Refusal> {
        let version = stored.first().copied().unwrap_or_default();
        if version != VERSION || stored.len() < FIXED {
            return Err(Refusal::Unreadable(format!(
                "the entry of device {device} has version {version} and {} bytes, and this program knows version \
                 {VERSION} only: it was written by a newer one",
                stored.len()
            )));
        }
        let number = |at: usize| u64::from_be_bytes(stored[at..at + 8].try_into().expect("a number has 8 bytes"));
        Ok(Entry {
            timestamp: number(1),
            hidden_below: number(9),
            removed_below: number(17),
            expires: number(25),
            payload: stored.slice(FIXED..),
        })
    }

    pub(super) fn written(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(FIXED + self.payload.len());
        bytes.put_u8(VERSION);
        for number in [self.timestamp, self.hidden_below, self.removed_below, self.expires] {
            bytes.put_u64(number);
        }
        bytes.put_slice(&self.payload);
        bytes.freeze()
    }

    /// Whether the time of the history has come.
    pub(super) fn has_expired(&self, now: u64) -> bool {
        self.expires != 0 && self.expires <= now
    }
}

/// The device that a key of a space names.
pub(super) fn device_in(space: Space, name: &[u8]) -> Result<DeviceId, Refusal> {
    DeviceId::new(name).map_err(|error| Refusal::Unreadable(format!("a key of `{}` names no device: {error}", space.0)))
}

/// The key of a device's entry.
pub(super) fn device_key(device: &DeviceId) -> Bytes {
    Bytes::copy_from_slice(device.as_str().as_bytes())
}

/// The key of a row of a device's history: a message, or a page that begins with this one.
pub(super) fn history_key(device: &DeviceId, secs: u64, id: EventId, value: &[u8]) -> Bytes {
    let mut key = BytesMut::with_capacity(device.as_str().len() + 33);
    put_second(&mut key, device, secs);
    key.put_u128(id.0.0);
    key.put_u64(xxh3_64(value));
    key.freeze()
}

/// The second in the key of a row.
pub(super) fn second_of(history_key: &[u8]) -> Option<u64> {
    let at = history_key.len().checked_sub(8 + 16 + 8)?;
    history_key[at..].first_chunk().map(|second| u64::from_be_bytes(*second))
}

/// The keys of a device's history from one second up to and without another.
pub(super) fn seconds(device: &DeviceId, from: u64, to: u64) -> KeyRange {
    let key = |secs| {
        let mut key = BytesMut::new();
        put_second(&mut key, device, secs);
        key.freeze()
    };
    KeyRange::between(key(from), key(to))
}

/// The keys of a device's history from a second on.
pub(super) fn seconds_from(device: &DeviceId, from: u64) -> KeyRange {
    let mut start = BytesMut::new();
    put_second(&mut start, device, from);
    // Behind the zero byte that ends the name.
    KeyRange::between(start, [device.as_str().as_bytes(), &[1]].concat())
}

fn put_second(key: &mut BytesMut, device: &DeviceId, secs: u64) {
    key.put_slice(device.as_str().as_bytes());
    key.put_u8(0);
    key.put_u64(secs);
}

/// The key that says when a device's history goes.
pub(super) fn expiry_key(expires: u64, device: &DeviceId) -> Bytes {
    let mut key = BytesMut::with_capacity(8 + device.as_str().len());
    key.put_u64(expires);
    key.put_slice(device.as_str().as_bytes());
    key.freeze()
}

/// How long history is kept, and how exactly. All in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retention {
    /// How far back it reaches.
    pub(super) history: u64,
    /// What is hidden is removed once it spans this.
    pub(super) slack: u64,
    /// What `expires` is a multiple of: so that a device that writes all the time moves its key seldom.
    pub(super) step: u64,
}

impl Retention {
    pub(super) fn new(history: Duration) -> Self {
        let history = history.as_secs();
        Retention { history, slack: (history / 32).max(1), step: (history / 16).max(1) }
    }

    /// When the history of a device goes that writes now for the last time.
    pub(super) fn expires(&self, now: u64) -> u64 {
        now.saturating_add(self.history).div_ceil(self.step).saturating_mul(self.step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ulid::Ulid;

    #[test]
    fn keys_sort_by_time_then_identity_and_stay_with_their_device() {
        let device = |name: &str| name.parse::<DeviceId>().unwrap();
        let id = |n| EventId(Ulid::from_parts(1, n));
        let key = |name, secs, n| history_key(&device(name), secs, id(n), b"m");
        let sorted = [
            key("d", 1, 9),
            key("d", 2, 1),
            key("d", 2, 2),
            key("d", u64::MAX, 1),
            key("d-1", 0, 0),
            key("d1", 0, 0),
            key("e", 0, 0),
        ];
        assert!(sorted.is_sorted(), "{sorted:?}");
        assert_eq!(second_of(&key("d", 258, 1)), Some(258));
        assert!(HISTORY.is_run());
        assert_ne!(key("d", 1, 1), history_key(&device("d"), 1, id(1), b"n"), "another message is another key");
    }

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let entry =
            Entry { timestamp: 1, hidden_below: 2, removed_below: 3, expires: 4, payload: Bytes::from_static(b"{}") };
        let written = entry.written();
        let expect = [
            [1].as_slice(),
            &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2],
            &[0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4],
            b"{}",
        ];
        assert_eq!(written, expect.concat());
    }

    #[test]
    fn a_history_stays_its_time_and_at_most_a_step_more() {
        for history in [1, 2, 59, 18_000] {
            let retention = Retention::new(Duration::from_secs(history));
            for now in [0, 1, 17, 1_700_000_000] {
                let kept = retention.expires(now) - now;
                assert!((history..history + retention.step).contains(&kept), "{history} {now} {kept}");
            }
        }
    }
}
