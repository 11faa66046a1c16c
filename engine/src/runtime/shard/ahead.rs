//! Transitions that stand in a journal behind the checkpoint, until the shard has come to where they were made.
//!
//! They are applied to the sessions that the checkpoint has when the shard is opened. But a device that the checkpoint
//! does not know, or that is forgotten on the way, opens a session only when its record is read again; then its
//! transitions are applied to that. Which of them belong to which session of a device its stage can tell, by the record
//! that opened it.
//!
//! While some wait, checkpoints name the offset from which these were read, so that they are found again after another
//! crash.

use std::collections::HashMap;

use crate::clock::Timestamp;
use crate::device_id::DeviceId;
use crate::position::{Cursor, Position};
use crate::record::Record;

/// The journalled transitions that the shard has not come to, by device.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    records: HashMap<DeviceId, Vec<Waiting>>,
    /// Where each stage's journal was begun to be read.
    from: Vec<(String, i64)>,
}

/// A transition.
#[derive(Clone, Debug)]
struct Waiting {
    stage: usize,
    record: Record,
    cause: Position,
}

impl Waiting {
    /// Whether the shard is past what made it. A timer's cause is the last mark, so only the next one is past it. Where
    /// nothing of the topic has come, or it is gone for good, wall time has to tell.
    fn is_passed(&self, cursor: &Cursor, wall: Timestamp) -> bool {
        match cursor.get(self.cause.topic) {
            Some(done) => done > self.cause.offset,
            None => self.record.received_at < wall,
        }
    }
}

impl Ahead {
    /// None yet, of journals that are read from these offsets.
    pub(super) fn new(from: Vec<(String, i64)>) -> Self {
        Ahead { records: HashMap::new(), from }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Keeps a transition of a stage, put down to `cause`.
    pub(super) fn keep(&mut self, stage: usize, record: Record, cause: Position) {
        self.records.entry(record.device.clone()).or_default().push(Waiting { stage, record, cause });
    }

    /// Those of a device, with their stages.
    pub(super) fn of(&self, device: &DeviceId) -> Vec<(usize, Record)> {
        let waiting = self.records.get(device).into_iter().flatten();
        waiting.map(|waiting| (waiting.stage, waiting.record.clone())).collect()
    }

    /// Lets go of what the shard has passed. `wall` is the time of the last record.
    pub(super) fn pass(&mut self, cursor: &Cursor, wall: Timestamp) {
        self.records.retain(|_, waiting| {
            waiting.retain(|waiting| !waiting.is_passed(cursor, wall));
            !waiting.is_empty()
        });
    }

    /// From where a journal has to be read after the next checkpoint; `end` where nothing waits.
    pub(super) fn offset(&self, stage: &str, end: i64) -> i64 {
        let from = self.from.iter().find(|(name, _)| !self.is_empty() && name == stage);
        from.map_or(end, |(_, from)| (*from).min(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::TopicId;
    use crate::testing::record;

    #[test]
    fn the_journal_is_read_again_from_where_it_was_until_all_of_it_is_passed() {
        let (topic, other) = (TopicId::default(), TopicId(uuid::Uuid::from_u128(7)));
        let at = |topic, offset| Position { topic, offset, ..Position::default() };
        let mut ahead = Ahead::new(vec![("alerts".to_owned(), 40)]);
        assert_eq!(ahead.offset("alerts", 50), 50);
        ahead.keep(0, Record { received_at: Timestamp(1000), ..record("a", 1) }, at(topic, 7));
        ahead.keep(1, Record { received_at: Timestamp(2000), ..record("a", 2) }, at(other, 3));
        assert_eq!((ahead.offset("alerts", 50), ahead.offset("more", 50)), (40, 50));
        assert_eq!(ahead.of(&"a".parse().unwrap()).len(), 2);
        let mut cursor = Cursor::default();
        cursor.advance(topic, 7);
        ahead.pass(&cursor, Timestamp(2000));
        assert_eq!(ahead.of(&"a".parse().unwrap()).len(), 2, "neither the next record nor a later time has come");
        cursor.advance(topic, 8);
        ahead.pass(&cursor, Timestamp(2000));
        assert_eq!(ahead.of(&"a".parse().unwrap()).iter().map(|(stage, _)| *stage).collect::<Vec<_>>(), [1]);
        ahead.pass(&cursor, Timestamp(2001));
        assert!(ahead.is_empty());
        assert_eq!(ahead.offset("alerts", 50), 50);
    }
}
