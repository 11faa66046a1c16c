//! Cuts the history of all devices where it takes more than it may, the oldest first.
//!
//! It is cut to nine tenths, at one second for all devices, so that it is not looked through again with each new record.
//! Before, it is read how much is there to cut: where that is not what it is said to weigh, it is weighed anew instead. A
//! cut takes many writes; where it is interrupted, the next round looks at the total again.

use bytes::Bytes;

use super::Refusal;
use super::apply::remove_rows;
use super::entry::{DEVICES, Entry, HISTORY, device_in, device_key, seconds};
use super::weight::{self, Change, Room};
use crate::embedded::disk::{Disk, KeyRange, Read, Tx, View};

/// The most of the history that one write removes.
const ROOM: Room = Room { rows: 8_192, bytes: 8 << 20 };
/// The most devices that one write looks at.
const DEVICES_AT_ONCE: usize = 2_000;
/// The most bytes of devices' entries that one write changes.
const ENTRY_BYTES: usize = 4 << 20;

/// What was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// Nothing older than this second is left.
    pub(super) before: u64,
    /// Messages removed.
    pub(super) messages: u64,
}

/// Cuts the history where it weighs more than `limit` bytes.
pub(super) async fn trim(disk: &Disk, limit: u64) -> Result<Option<Cut>, Refusal> {
    let cut = disk.read(move |view| {
        if weight::total(view)?.is_none_or(|total| total <= limit) {
            return Ok::<_, Refusal>(None);
        }
        let before = weight::first_within(view, limit - limit / 10)?;
        Ok(Some((before, weight::before(view, before)?, weighs(view, before)?)))
    });
    let Some((before, noted, there)) = cut.await? else { return Ok(None) };
    // Without a second to cut at, the total is not that of its parts.
    if there != noted || before == 0 {
        disk.tidy(weight::weigh_anew).await?;
        return Ok(None);
    }
    let mut messages = 0;
    let mut from = Some(Bytes::new());
    while let Some(device) = from {
        let (removed, next) = disk.tidy(move |tx| some(tx, device, before)).await?;
        messages += removed;
        from = next;
    }
    Ok((messages > 0).then_some(Cut { before, messages }))
}

/// The bytes of all messages that are older than a second, and of their keys.
fn weighs(view: &View<'_>, before: u64) -> Result<u64, Refusal> {
    let mut bytes = 0;
    for row in view.rows(DEVICES, KeyRange::prefix(Bytes::new())) {
        let (key, stored) = row?;
        let device = device_in(DEVICES, &key)?;
        let entry = Entry::parse(&device, &stored)?;
        if !may_have(&entry, before) {
            continue;
        }
        for row in view.rows(HISTORY, seconds(&device, entry.removed_below, before)) {
            let (key, value) = row?;
            bytes += (key.len() + value.len()) as u64;
        }
    }
    Ok(bytes)
}

/// Whether a device may have messages older than a second.
fn may_have(entry: &Entry, before: u64) -> bool {
    entry.expires != 0 && entry.removed_below < before
}

/// Cuts the history of some devices, from one on: how many messages went, and the device to go on with.
fn some(tx: &mut Tx<'_>, from: Bytes, before: u64) -> Result<(u64, Option<Bytes>), Refusal> {
    let devices = tx.rows(DEVICES, KeyRange::prefix(Bytes::new()).starting_at(from)).take(DEVICES_AT_ONCE + 1);
    let devices: Vec<Bytes> =
        devices.map(|row| row.map(|(key, _)| Bytes::copy_from_slice(&key))).collect::<Result<_, _>>()?;
    let (mut room, mut entry_bytes, mut messages, mut change) = (ROOM, 0, 0, Change::default());
    let mut next = None;
    for (at, key) in devices.into_iter().enumerate() {
        if at == DEVICES_AT_ONCE || room.is_used_up() || entry_bytes > ENTRY_BYTES {
            next = Some(key);
            break;
        }
        let device = device_in(DEVICES, &key)?;
        let Some(entry) = Entry::read(tx, &device)?.filter(|entry| may_have(entry, before)) else { continue };
        let rows = room.take(tx.rows(HISTORY, seconds(&device, entry.removed_below, before)))?;
        if rows.is_empty() {
            continue;
        }
        messages += rows.iter().map(|row| row.messages).sum::<u64>();
        remove_rows(tx, rows, &mut change);
        if room.is_used_up() {
            // There may be more of this one.
            next = Some(key);
            break;
        }
        let hidden_below = entry.hidden_below.max(before);
        let cut = Entry { hidden_below, removed_below: before, ..entry };
        let written = cut.written();
        entry_bytes += written.len();
        tx.insert(DEVICES, device_key(&device), written);
    }
    change.write(tx)?;
    Ok((messages, next))
}
