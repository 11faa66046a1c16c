//! What the history weighs: the bytes of its keys and messages, by the time that they are of.
//!
//! Kept in the batches that write and remove the rows, so that it agrees with them without a scan; a directory that has a
//! history and no weight is weighed once. Where two writers keep the same message it counts twice, until that is noticed
//! and all is weighed anew.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Refusal;
use super::entry::{HISTORY, second_of};
use crate::embedded::disk::{Disk, KeyRange, Read, Space, Tx};

pub(super) const WEIGHT: Space = Space("history_weight");

/// Seconds that are weighed together.
const STRETCH: u64 = 10;
const VERSION: u8 = 1;
/// The key of all stretches' sum. Theirs are numbers of eight bytes, none of which begins so.
const TOTAL: &[u8] = b"\xfftotal";

/// What a write adds and removes.
#[derive(Debug, Default)]
pub(super) struct Change(BTreeMap<u64, i64>);

impl Change {
    /// A row of the history is written that was not there.
    pub(super) fn add(&mut self, key: &[u8], message: &[u8]) {
        self.weigh(key, (key.len() + message.len()) as i64);
    }

    /// A row of the history is removed.
    pub(super) fn remove(&mut self, key: &[u8], message: &[u8]) {
        self.weigh(key, -((key.len() + message.len()) as i64));
    }

    fn weigh(&mut self, key: &[u8], bytes: i64) {
        let stretch = second_of(key).unwrap_or(0) / STRETCH * STRETCH;
        *self.0.entry(stretch).or_default() += bytes;
    }

    /// Puts it into the write that changes the rows.
    pub(super) fn write(self, tx: &mut Tx<'_>) -> Result<(), Refusal> {
        let mut total = read(tx, TOTAL)?.unwrap_or(0);
        for (stretch, change) in self.0 {
            let key = stretch.to_be_bytes();
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

/// The first second that stays when no more than `limit` bytes are to.
pub(super) fn first_within(from: &impl Read, limit: u64) -> Result<u64, Refusal> {
    let mut left = total(from)?.unwrap_or(0);
    for row in stretches(from) {
        if left <= limit {
            break;
        }
        let (stretch, weight) = row?;
        left = left.saturating_sub(weight);
        if left <= limit {
            return Ok(stretch.saturating_add(STRETCH));
        }
    }
    Ok(0)
}

/// Weighs the history of a directory in which it never was.
pub(super) async fn ensure(disk: &Disk) -> Result<(), Refusal> {
    if disk.read(|view| total(view)).await?.is_some() {
        return Ok(());
    }
    disk.tidy(|tx| if total(tx)?.is_none() { weigh(tx) } else { Ok(()) }).await
}

/// Weighs all of it, whatever was known before.
pub(super) fn weigh(tx: &mut Tx<'_>) -> Result<(), Refusal> {
    let known = tx.rows(WEIGHT, everything()).map(|row| row.map(|(key, _)| key));
    let known: Vec<Bytes> = known.collect::<Result<_, _>>()?;
    known.into_iter().for_each(|key| tx.remove(WEIGHT, key));
    let mut all = Change::default();
    for row in tx.rows(HISTORY, everything()) {
        let (key, message) = row?;
        all.add(&key, &message);
    }
    all.write(tx)
}

fn everything() -> KeyRange {
    KeyRange::prefix(Bytes::new())
}

/// All stretches and their weights, the oldest first.
fn stretches(from: &impl Read) -> impl Iterator<Item = Result<(u64, u64), Refusal>> {
    from.rows(WEIGHT, KeyRange::between(Bytes::new(), TOTAL)).map(|row| {
        let (key, value) = row?;
        let stretch = key.first_chunk().map(|key| u64::from_be_bytes(*key)).ok_or_else(unreadable)?;
        Ok((stretch, number(&value)?))
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
