//! What the history weighs: the bytes of its keys and values, by the time that they are of.
//!
//! Kept in the batches that write and remove the rows, so that it agrees with them without a scan, from the first writer
//! with a `history_size` on: then all that is there is weighed once. A row that is written over itself, by a second writer or
//! by one that reads the log again with a guard of its own, counts twice, until `trim` notices before its next cut. Where such a
//! one has other batches, its pages stand beside those that are there, and what is in both weighs twice for as long.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Refusal;
use super::entry::{HISTORY, second_of};
use super::page;
use crate::embedded::disk::{Disk, DiskError, KeyRange, Read, Row, Space, Tx};

pub(super) const WEIGHT: Space = Space("history_weight");

/// The seconds of a bucket, which are weighed together.
const BUCKET: u64 = 10;
const VERSION: u8 = 1;
/// The key of all buckets' sum. Theirs are numbers of eight bytes, none of which begins so.
const TOTAL: &[u8] = b"\xfftotal";

/// A row that is to be removed. The key is a copy: one that was read may be a slice of its block, all of which it would keep
/// in memory until the removal is on the disk.
pub(super) struct Going {
    pub(super) key: Bytes,
    /// The bytes of key and value.
    pub(super) weight: usize,
    /// Its messages.
    pub(super) messages: u64,
}

/// What one write removes at most, while all who write wait for it: each row is read to say what goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) rows: usize,
    pub(super) bytes: usize,
}

impl Room {
    pub(super) fn is_used_up(&self) -> bool {
        self.rows == 0 || self.bytes == 0
    }

    /// The next rows, as far as there is room for them; it is used up where there may be more.
    pub(super) fn take(
        &mut self,
        mut rows: impl Iterator<Item = Result<Row, DiskError>>,
    ) -> Result<Vec<Going>, DiskError> {
        let mut taken = Vec::new();
        while !self.is_used_up() {
            let Some(row) = rows.next() else { break };
            let going = Going::of(row)?;
            self.rows -= 1;
            self.bytes = self.bytes.saturating_sub(going.weight);
            taken.push(going);
        }
        Ok(taken)
    }
}

impl Going {
    pub(super) fn of(row: Result<Row, DiskError>) -> Result<Going, DiskError> {
        row.map(|(key, row)| Going {
            weight: key.len() + row.len(),
            messages: page::count(&row),
            key: Bytes::copy_from_slice(&key),
        })
    }
}

/// What a write adds and removes.
#[derive(Debug, Default)]
pub(super) struct Change(BTreeMap<u64, i64>);

impl Change {
    /// A row of the history is written that was not there.
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) {
        self.weigh(key, (key.len() + value.len()) as i64);
    }

    /// A row of the history is removed.
    pub(super) fn remove(&mut self, row: &Going) {
        self.weigh(&row.key, -(row.weight as i64));
    }

    fn weigh(&mut self, key: &[u8], bytes: i64) {
        let bucket = second_of(key).unwrap_or(0) / BUCKET * BUCKET;
        *self.0.entry(bucket).or_default() += bytes;
    }

    /// Puts it into the write that changes the rows, where they are weighed.
    pub(super) fn write(self, tx: &mut Tx<'_>) -> Result<(), Refusal> {
        match total(tx)? {
            Some(total) => self.write_onto(total, tx),
            None => Ok(()),
        }
    }

    fn write_onto(self, mut total: u64, tx: &mut Tx<'_>) -> Result<(), Refusal> {
        for (bucket, change) in self.0 {
            let key = bucket.to_be_bytes();
            let before = read(tx, &key)?.unwrap_or(0);
            let now = before.saturating_add_signed(change);
            total = (total + now).saturating_sub(before);
            match now {
                0 => tx.remove(WEIGHT, key.to_vec()),
                now => tx.insert(WEIGHT, key.to_vec(), written(now)),
            }
        }
        tx.insert(WEIGHT, TOTAL, written(total));
        Ok(())
    }
}

/// All that the history weighs; nothing where it was not weighed.
pub(super) fn total(from: &impl Read) -> Result<Option<u64>, Refusal> {
    read(from, TOTAL)
}

/// What all buckets weigh that begin before a second.
pub(super) fn before(from: &impl Read, second: u64) -> Result<u64, Refusal> {
    let older = |bucket: &Result<(u64, u64), Refusal>| !matches!(bucket, Ok((begins, _)) if *begins >= second);
    buckets(from).take_while(older).map(|bucket| Ok(bucket?.1)).sum()
}

/// The first second that stays when no more than `limit` bytes are to.
pub(super) fn first_within(from: &impl Read, limit: u64) -> Result<u64, Refusal> {
    let mut left = total(from)?.unwrap_or(0);
    for row in buckets(from) {
        if left <= limit {
            break;
        }
        let (bucket, weight) = row?;
        left = left.saturating_sub(weight);
        if left <= limit {
            return Ok(bucket.saturating_add(BUCKET));
        }
    }
    Ok(0)
}

/// Weighs the history of a directory in which it never was.
pub(super) async fn ensure(disk: &Disk) -> Result<(), Refusal> {
    if disk.read(|view| total(view)).await?.is_some() {
        return Ok(());
    }
    disk.tidy(|tx| if total(tx)?.is_none() { weigh_anew(tx) } else { Ok(()) }).await
}

/// Weighs all of it, whatever was known before. It reads the whole history, and nothing else is written meanwhile: so it is
/// for a directory that was never weighed, and where the weight was wrong.
pub(super) fn weigh_anew(tx: &mut Tx<'_>) -> Result<(), Refusal> {
    let known = tx.rows(WEIGHT, everything()).map(|row| row.map(|(key, _)| key));
    let known: Vec<Bytes> = known.collect::<Result<_, _>>()?;
    known.into_iter().for_each(|key| tx.remove(WEIGHT, key));
    let (mut all, mut messages) = (Change::default(), 0u64);
    for row in tx.rows(HISTORY, everything()) {
        let (key, value) = row?;
        all.add(&key, &value);
        messages += page::count(&value);
    }
    tracing::info!(code = "history_weighed", messages, "the history was weighed anew");
    all.write_onto(0, tx)
}

fn everything() -> KeyRange {
    KeyRange::prefix(Bytes::new())
}

/// All buckets and their weights, the oldest first.
fn buckets(from: &impl Read) -> impl Iterator<Item = Result<(u64, u64), Refusal>> {
    from.rows(WEIGHT, KeyRange::between(Bytes::new(), TOTAL)).map(|row| {
        let (key, value) = row?;
        let bucket = key.first_chunk().map(|key| u64::from_be_bytes(*key)).ok_or_else(unreadable)?;
        Ok((bucket, number(&value)?))
    })
}

fn read(from: &impl Read, key: &[u8]) -> Result<Option<u64>, Refusal> {
    from.get(WEIGHT, key)?.map(|value| number(&value)).transpose()
}

fn number(value: &[u8]) -> Result<u64, Refusal> {
    let number = value.strip_prefix(&[VERSION]).and_then(|number| number.try_into().ok());
    number.map(u64::from_be_bytes).ok_or_else(unreadable)
}

fn written(number: u64) -> Vec<u8> {
    [&[VERSION][..], &number.to_be_bytes()].concat()
}

fn unreadable() -> Refusal {
    Refusal::Unreadable("the weight of the history has a form that this program does not know".to_owned())
}
