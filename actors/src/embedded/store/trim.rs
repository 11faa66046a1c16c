//! Cuts the history of all devices where it takes more than it may, the oldest first.
//!
//! It is cut to nine tenths, at one second for all devices, so that it is not looked through again with each new record.
//! A cut takes many writes; where it is interrupted the next round goes on, as it is still too much or is not.

use bytes::Bytes;
use telemill_engine::device_id::DeviceId;

use super::Refusal;
use super::apply::remove_rows;
use super::entry::{DEVICES, Entry, HISTORY, device_key, seconds};
use super::weight::{self, Change};
use crate::embedded::disk::{Disk, KeyRange, Read, Row, Tx};

/// The most rows of history that one write removes, and the most devices that it looks at: all who write wait for it.
const ROWS: usize = 2_000;

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
    let before = disk.read(move |view| match weight::total(view)? {
        Some(total) if total > limit => weight::first_within(view, limit - limit / 10),
        _ => Ok(0),
    });
    let before = before.await?;
    if before == 0 {
        return Ok(None);
    }
    let mut messages = 0;
    let mut from = Some(Bytes::new());
    while let Some(device) = from {
        let (removed, next) = disk.tidy(move |tx| some(tx, device, before)).await?;
        messages += removed;
        from = next;
    }
    if messages == 0 {
        // What weighs so much is not there.
        disk.tidy(weight::weigh).await?;
        return Ok(None);
    }
    Ok(Some(Cut { before, messages }))
}

/// Cuts the history of some devices, from one on: how many messages went, and the device to go on with.
fn some(tx: &mut Tx<'_>, from: Bytes, before: u64) -> Result<(u64, Option<Bytes>), Refusal> {
    let devices = tx.rows(DEVICES, KeyRange::prefix(Bytes::new()).starting_at(from)).take(ROWS + 1);
    let devices: Vec<Bytes> = devices.map(|row| row.map(|(key, _)| key)).collect::<Result<_, _>>()?;
    let (mut room, mut change) = (ROWS, Change::default());
    let mut next = None;
    for (at, key) in devices.into_iter().enumerate() {
        if at == ROWS {
            next = Some(key);
            break;
        }
        let device = DeviceId::new(&key)
            .map_err(|error| Refusal::Unreadable(format!("a key of `devices` names no device: {error}")))?;
        let entry = Entry::read(tx, &device)?;
        let Some(entry) = entry.filter(|entry| entry.expires != 0 && entry.removed_below < before) else { continue };
        let rows = tx.rows(HISTORY, seconds(&device, entry.removed_below, before)).take(room);
        let rows: Vec<Row> = rows.collect::<Result<_, _>>()?;
        room -= rows.len();
        remove_rows(tx, rows, &mut change);
        if room == 0 {
            next = Some(key);
            break;
        }
        let hidden_below = entry.hidden_below.max(before);
        let cut = Entry { hidden_below, removed_below: before, ..entry };
        tx.insert(DEVICES, device_key(&device), cut.written());
    }
    change.write(tx)?;
    Ok(((ROWS - room) as u64, next))
}
