//! How far a writer has come in a partition, and who may write there.

use std::fmt;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use telemill_engine::batch::Batch;
use telemill_engine::position::{Cursor, Epoch, Partition, TopicId, TopicOffset};
use telemill_engine::record::Record;

use super::Refusal;
use crate::embedded::disk::{Read, Space, Tx};

const GUARDS: Space = Space("guards");
const VERSION: u16 = 1;

/// Whose guard.
#[derive(Clone, Debug)]
pub(super) struct GuardKey {
    pub(super) topology: Arc<str>,
    pub(super) stage: Arc<str>,
    pub(super) partition: Partition,
}

impl fmt::Display for GuardKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the guard of `{}` in `{}`, partition {}", self.stage, self.topology, self.partition)
    }
}

/// A guard as it is stored. The positions are the last ones applied, by topic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Guard {
    v: u16,
    epoch: Epoch,
    positions: Vec<(TopicId, i64, u32)>,
}

#[derive(Deserialize)]
struct Version {
    v: u16,
}

impl GuardKey {
    fn bytes(&self) -> Bytes {
        let mut key = BytesMut::new();
        for name in [&self.topology, &self.stage] {
            key.put_slice(name.as_bytes());
            key.put_u8(0);
        }
        // With the sign bit inverted numbers sort by their bytes.
        key.put_i32(self.partition ^ i32::MIN);
        key.freeze()
    }

    /// The guard for an owner that was not superseded.
    pub(super) fn read(&self, tx: &Tx<'_>, epoch: Epoch) -> Result<Guard, Refusal> {
        let Some(stored) = tx.get(GUARDS, &self.bytes())? else {
            return Ok(Guard { v: VERSION, ..Guard::default() });
        };
        let unreadable = |error| Refusal::Unreadable(format!("{self} cannot be read: {error}"));
        let Version { v } = serde_json::from_slice(&stored).map_err(unreadable)?;
        if v != VERSION {
            return Err(Refusal::Unreadable(format!(
                "{self} has version {v}, and this program knows version {VERSION} only: it was written by a newer one"
            )));
        }
        let guard: Guard = serde_json::from_slice(&stored).map_err(unreadable)?;
        if guard.epoch > epoch {
            return Err(Refusal::Fenced { guard: self.clone(), ours: epoch, theirs: guard.epoch });
        }
        Ok(guard)
    }

    pub(super) fn write(&self, tx: &mut Tx<'_>, guard: &Guard) {
        let json = serde_json::to_vec(guard).expect("numbers and ids are JSON");
        tx.insert(GUARDS, self.bytes(), json);
    }

    /// Takes the partition over for an owner: from here on a lower epoch is refused. How far it has come.
    ///
    /// A guard that stands at the *n*-th record made out of one (output above 0) does not know whether there are more
    /// of them: the offset counts as not done, and what it has of it is skipped when it is read again.
    pub(super) fn take_over(&self, tx: &mut Tx<'_>, epoch: Epoch) -> Result<Cursor, Refusal> {
        let mut guard = self.read(tx, epoch)?;
        guard.epoch = epoch;
        self.write(tx, &guard);
        let done = |&(topic, offset, output): &(TopicId, i64, u32)| TopicOffset {
            topic,
            offset: if output == 0 { offset } else { offset - 1 },
        };
        Ok(Cursor(guard.positions.iter().map(done).collect()))
    }

    /// Refuses a batch that follows something which the guard does not have.
    pub(super) fn check_gap(&self, guard: &Guard, batch: &Batch) -> Result<(), Refusal> {
        for &(topic, offset, output) in &batch.previous {
            let stored = guard.position(topic);
            let concerns = || batch.records.iter().any(|r| r.position.is_some_and(|p| p.topic == topic));
            if stored < Some((offset, output)) && concerns() {
                return Err(Refusal::Gap {
                    guard: self.clone(),
                    topic: topic.to_string(),
                    stored: stored.map_or("nothing".to_owned(), |(offset, output)| format!("{offset}:{output}")),
                    previous: format!("{offset}:{output}"),
                });
            }
        }
        Ok(())
    }
}

impl Guard {
    fn position(&self, topic: TopicId) -> Option<(i64, u32)> {
        self.positions.iter().find(|(t, ..)| *t == topic).map(|&(_, offset, output)| (offset, output))
    }

    /// Whether a record was applied already. One without a position never was.
    pub(super) fn has(&self, record: &Record) -> bool {
        record.position.is_some_and(|p| self.position(p.topic) >= Some((p.offset, p.output)))
    }

    /// Moves on to a record.
    pub(super) fn advance(&mut self, record: &Record) {
        let Some(position) = record.position else { return };
        let at = (position.offset, position.output);
        match self.positions.iter_mut().find(|(topic, ..)| *topic == position.topic) {
            Some((_, offset, output)) => (*offset, *output) = at.max((*offset, *output)),
            None => self.positions.push((position.topic, at.0, at.1)),
        }
    }

    pub(super) fn set_epoch(&mut self, epoch: Epoch) {
        self.epoch = epoch;
    }
}
