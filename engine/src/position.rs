//! Where a record stands in a log, and who may write after it.
//!
//! Positions reach disk and wire: their meaning is fixed in `docs/formats.md`.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The identity a log gives a topic when it is created; a topic that is deleted and made again has another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TopicId(pub Uuid);

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.simple().fmt(f)
    }
}

/// A partition's number. The unit of order and of ownership of a source.
pub type Partition = i32;

/// A record's place in the log.
///
/// Positions of one (topic, partition) are ordered by `(offset, output)`. Offsets have holes (transactions,
/// compaction): nothing may count them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The topic's identity.
    pub topic: TopicId,
    /// The topic's partition.
    pub partition: Partition,
    /// The offset in the partition.
    pub offset: i64,
    /// 0 for the record itself; *n* for the *n*-th record that a stage made out of it.
    pub output: u32,
}

/// How far something has come in a partition of a topic: the last offset it has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicOffset {
    /// The topic's identity.
    pub topic: TopicId,
    /// The last offset done; the next one to read is behind it.
    pub offset: i64,
}

/// A cursor over the topics that a source merges in one partition, one entry a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(pub Vec<TopicOffset>);

impl Cursor {
    /// The last offset done in `topic`, if any.
    pub fn get(&self, topic: TopicId) -> Option<i64> {
        self.0.iter().find(|t| t.topic == topic).map(|t| t.offset)
    }

    /// Moves `topic` forward to `offset`; an offset behind the cursor changes nothing.
    pub fn advance(&mut self, topic: TopicId, offset: i64) {
        match self.0.iter_mut().find(|t| t.topic == topic) {
            Some(entry) => entry.offset = entry.offset.max(offset),
            None => self.0.push(TopicOffset { topic, offset }),
        }
    }

    /// The lower of two cursors, topic by topic: a topic that one of them has not begun is in neither.
    pub fn lower(&self, other: &Cursor) -> Cursor {
        let both = self.0.iter().filter_map(|mine| {
            let offset = mine.offset.min(other.get(mine.topic)?);
            Some(TopicOffset { topic: mine.topic, offset })
        });
        Cursor(both.collect())
    }

    /// Whether the cursor has come to `position` or past it.
    pub fn has_passed(&self, position: &Position) -> bool {
        self.get(position.topic).is_some_and(|done| done >= position.offset)
    }
}

/// The running number of an owner: taken from a counter in the state store when ownership is taken, carried by every
/// write, and refused where a higher one has been seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_never_goes_back() {
        let topic = TopicId(Uuid::from_u128(1));
        let mut cursor = Cursor::default();
        assert_eq!(cursor.get(topic), None);
        cursor.advance(topic, 7);
        cursor.advance(topic, 3);
        assert_eq!(cursor.get(topic), Some(7));
        let at = |offset| Position { topic, partition: 0, offset, output: 0 };
        assert!(cursor.has_passed(&at(7)));
        assert!(!cursor.has_passed(&at(8)));
    }
}
