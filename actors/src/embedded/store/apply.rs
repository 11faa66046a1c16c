//! Applies one batch behind its guard, within one write: all of it or nothing.
//!
//! A history is trimmed by a number in the device's entry that hides what is older; the rows are removed when they are worth
//! a scan (`docs/formats.md`, "Retention").

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use telemill_engine::batch::Batch;
use telemill_engine::device_id::DeviceId;
use telemill_engine::envelope::message_of;
use telemill_engine::position::Epoch;
use telemill_engine::record::Record;

use super::Refusal;
use super::entry::{DEVICES, EXPIRY, Entry, HISTORY, Retention, device_key, expiry_key, seconds, seconds_from};
use super::guard::GuardKey;
use super::hub::Hub;
use super::page;
use super::weight::{Change, Going};
use crate::device_store::is_written;
use crate::embedded::disk::{KeyRange, Read, Tx};

/// A batch on its way into the directory.
pub(super) struct Applying {
    pub(super) batch: Arc<Batch>,
    /// None where the records have no positions.
    pub(super) guard: Option<GuardKey>,
    pub(super) epoch: Epoch,
    pub(super) retention: Retention,
    /// Wall time in seconds.
    pub(super) now: u64,
    pub(super) hub: Arc<Hub>,
}

/// What a batch has of one device.
struct Share {
    entry: Entry,
    /// The seconds of its newest and its oldest record.
    newest: u64,
    oldest: u64,
    /// The indices of its records.
    records: Vec<usize>,
}

impl Applying {
    /// Writes what the guard does not have; once that is durable, those who listen are told.
    pub(super) fn apply(self, tx: &mut Tx<'_>) -> Result<(), Refusal> {
        let (mut before, mut moved) = (None, None);
        if let Some(key) = &self.guard {
            let stored = key.read(tx, self.epoch)?;
            key.check_gap(&stored, &self.batch)?;
            let mut guard = stored.clone();
            self.batch.records.iter().for_each(|record| guard.advance(record));
            guard.set_epoch(self.epoch);
            if guard == stored {
                return Ok(());
            }
            (before, moved) = (Some(stored), Some((key, guard)));
        }
        let applies =
            move |record: &Record| is_written(record) && before.as_ref().is_none_or(|before| !before.has(record));
        let mut shares = self.shares(tx, &applies)?;
        let mut change = Change::default();
        for share in &mut shares {
            self.clear_late(tx, share, &mut change)?;
        }
        for share in &shares {
            self.write_history(tx, share, &mut change)?;
        }
        // Behind the rows: what of them is trimmed at once is removed, too.
        for share in shares {
            self.write_entry(tx, share, &mut change)?;
        }
        change.write(tx)?;
        if let Some((key, guard)) = &moved {
            key.write(tx, guard);
        }
        let (hub, batch) = (self.hub.clone(), self.batch.clone());
        tx.on_durable(move || {
            let written = batch.records.iter().filter(|record| applies(record));
            // Copied: a message that waits for a slow listener is not to keep its page of the log in memory.
            hub.publish(written.map(|record| (&record.device, || Bytes::from(message_of(record).into_owned()))));
        });
        Ok(())
    }

    /// Adds the messages of a device. With a guard nothing is applied twice by this writer, so none of them is there, and those
    /// of a second stand together. Without one each has a row of its own, so that it is known again.
    fn write_history(&self, tx: &mut Tx<'_>, share: &Share, change: &mut Change) -> Result<(), Refusal> {
        let is_guarded = self.guard.is_some();
        let records: Vec<&Record> = share.records.iter().map(|index| &self.batch.records[*index]).collect();
        let second = |record: &Record| record.received_at.as_secs();
        for some in records.chunk_by(|one, next| is_guarded && second(one) == second(next)) {
            let messages: Vec<_> = some.iter().map(|record| (record.id, message_of(record))).collect();
            for (key, row) in page::rows(&some[0].device, second(some[0]), &messages) {
                if is_guarded || tx.get(HISTORY, &key)?.is_none() {
                    change.add(&key, &row);
                }
                tx.insert(HISTORY, key, row);
            }
        }
        Ok(())
    }

    /// The devices of the batch, with what is stored of them.
    fn shares(&self, tx: &Tx<'_>, applies: &impl Fn(&Record) -> bool) -> Result<Vec<Share>, Refusal> {
        let mut shares: Vec<Share> = Vec::new();
        let mut places: HashMap<&DeviceId, usize> = HashMap::new();
        for (index, record) in self.batch.records.iter().enumerate().filter(|(_, record)| applies(record)) {
            let secs = record.received_at.as_secs();
            match places.get(&record.device) {
                Some(place) => {
                    let share = &mut shares[*place];
                    share.newest = share.newest.max(secs);
                    share.oldest = share.oldest.min(secs);
                    share.records.push(index);
                }
                None => {
                    let entry = Entry::read(tx, &record.device)?.unwrap_or_default();
                    places.insert(&record.device, shares.len());
                    shares.push(Share { entry, newest: secs, oldest: secs, records: vec![index] });
                }
            }
        }
        Ok(shares)
    }

    /// The last record of a device.
    fn last(&self, share: &Share) -> &Record {
        let index = share.records.last().copied().unwrap_or_default();
        &self.batch.records[index]
    }

    /// Removes what is hidden or expired where a new record would otherwise bring it back.
    fn clear_late(&self, tx: &mut Tx<'_>, share: &mut Share, change: &mut Change) -> Result<(), Refusal> {
        let device = &self.last(share).device;
        let entry = &mut share.entry;
        if entry.has_expired(self.now) {
            remove(tx, seconds_from(device, 0), change)?;
            (entry.hidden_below, entry.removed_below) = (0, 0);
        } else if share.oldest < entry.hidden_below {
            remove(tx, seconds(device, entry.removed_below, entry.hidden_below), change)?;
            (entry.hidden_below, entry.removed_below) = (0, entry.hidden_below);
        }
        Ok(())
    }

    /// The device's new state, and what becomes of its history.
    fn write_entry(&self, tx: &mut Tx<'_>, share: Share, change: &mut Change) -> Result<(), Refusal> {
        let record = self.last(&share);
        let (device, mut entry) = (&record.device, share.entry);
        entry.removed_below = entry.removed_below.min(share.oldest);
        entry.hidden_below = entry.hidden_below.max(share.newest.saturating_sub(self.retention.history));
        if entry.hidden_below.saturating_sub(entry.removed_below) >= self.retention.slack {
            remove(tx, seconds(device, entry.removed_below, entry.hidden_below), change)?;
            entry.removed_below = entry.hidden_below;
        }
        let expires = self.retention.expires(self.now);
        if expires != entry.expires {
            if entry.expires != 0 {
                tx.remove(EXPIRY, expiry_key(entry.expires, device));
            }
            tx.insert(EXPIRY, expiry_key(expires, device), Bytes::new());
            entry.expires = expires;
        }
        entry.timestamp = record.received_at.as_secs();
        entry.payload = match record.payload.is_empty() {
            true => Bytes::from_static(b"null"),
            false => record.payload.clone(),
        };
        tx.insert(DEVICES, device_key(device), entry.written());
        Ok(())
    }
}

fn remove(tx: &mut Tx<'_>, range: KeyRange, change: &mut Change) -> Result<(), Refusal> {
    let rows: Vec<Going> = tx.rows(HISTORY, range).map(Going::of).collect::<Result<_, _>>()?;
    remove_rows(tx, rows, change);
    Ok(())
}

/// Removes rows of the history.
pub(super) fn remove_rows(tx: &mut Tx<'_>, rows: Vec<Going>, change: &mut Change) {
    for row in rows {
        change.remove(&row);
        tx.remove(HISTORY, row.key);
    }
}
