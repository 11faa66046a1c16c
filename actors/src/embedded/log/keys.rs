//! Keys of the log's spaces, and the line that each partition has (`docs/formats.md`, "Embedded log").

use bytes::{BufMut, Bytes, BytesMut};
use telemill_engine::position::Partition;

use crate::embedded::disk::{DiskError, KeyRange, Read, Space, Tx};

pub(super) const TOPICS: Space = Space("topics");
pub(super) const PARTITIONS: Space = Space("partitions");
pub(super) const LOG: Space = Space("log");
pub(super) const GROUPS: Space = Space("groups");

const VERSION: u8 = 1;
/// The length of a row's key in `log`.
pub(super) const KEY: usize = 16;

/// A partition of a topic, by the topic's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) topic: u32,
    pub(super) partition: Partition,
}

impl Place {
    fn put(self, key: &mut BytesMut) {
        key.put_u32(self.topic);
        key.put_i32(self.partition);
    }

    fn key(self) -> Bytes {
        let mut key = BytesMut::with_capacity(8);
        self.put(&mut key);
        key.freeze()
    }

    /// The key of the row whose first record has this offset.
    pub(super) fn row(self, first: i64) -> Bytes {
        let mut key = BytesMut::with_capacity(KEY);
        self.put(&mut key);
        key.put_i64(first);
        key.freeze()
    }

    /// The rows that begin from an offset on, up to and without another.
    pub(super) fn rows(self, from: i64, to: i64) -> KeyRange {
        KeyRange::between(self.row(from), self.row(to))
    }

    /// The key of what a group has committed here.
    pub(super) fn group(self, group: &str) -> Bytes {
        let mut key = BytesMut::with_capacity(10 + group.len());
        key.put_u16(group.len() as u16);
        key.put_slice(group.as_bytes());
        self.put(&mut key);
        key.freeze()
    }
}

/// The offset at the end of a row's key.
pub(super) fn offset_of(key: &[u8]) -> Option<i64> {
    Some(i64::from_be_bytes(key.get(8..)?.try_into().ok()?))
}

/// What a partition holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    /// The first offset retained.
    pub(super) start: i64,
    /// The offset behind the last.
    pub(super) end: i64,
    /// Keys and values of the rows retained.
    pub(super) bytes: u64,
}

impl Line {
    /// The line of a partition; that of an empty one where nothing was written yet.
    pub(super) fn load(read: &impl Read, place: Place) -> Result<Line, DiskError> {
        let Some(value) = read.get(PARTITIONS, &place.key())? else { return Ok(Line::default()) };
        let number = |at: usize| Some(u64::from_be_bytes(value.get(at..at + 8)?.try_into().ok()?));
        let line = || {
            let (start, end) = (i64::try_from(number(1)?).ok()?, i64::try_from(number(9)?).ok()?);
            (value.first() == Some(&VERSION)).then_some(Line { start, end, bytes: number(17)? })
        };
        line().ok_or_else(|| broken(&format!("the line of partition {} of topic {}", place.partition, place.topic)))
    }

    pub(super) fn save(&self, tx: &mut Tx<'_>, place: Place) {
        let mut value = BytesMut::with_capacity(25);
        value.put_u8(VERSION);
        value.put_i64(self.start);
        value.put_i64(self.end);
        value.put_u64(self.bytes);
        tx.insert(PARTITIONS, place.key(), value);
    }
}

/// What a group has committed.
pub(super) fn committed(value: &[u8]) -> Result<(i64, String), DiskError> {
    let read = || {
        let (version, rest) = value.split_first()?;
        let (offset, metadata) = rest.split_first_chunk()?;
        (*version == VERSION).then_some((i64::from_be_bytes(*offset), String::from_utf8(metadata.to_vec()).ok()?))
    };
    read().ok_or_else(|| broken("an offset that a group committed"))
}

pub(super) fn commit(offset: i64, metadata: &str) -> Bytes {
    let mut value = BytesMut::with_capacity(9 + metadata.len());
    value.put_u8(VERSION);
    value.put_i64(offset);
    value.put_slice(metadata.as_bytes());
    value.freeze()
}

/// Something that another version wrote, or nobody.
pub(super) fn broken(what: &str) -> DiskError {
    DiskError::Broken(format!("{what} in the embedded log has a form that this program does not know"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_order_of_offsets() {
        let place = Place { topic: 1, partition: 2 };
        assert_eq!(place.row(258), b"\0\0\0\x01\0\0\0\x02\0\0\0\0\0\0\x01\x02"[..]);
        assert_eq!(offset_of(&place.row(258)), Some(258));
        assert!(place.row(255) < place.row(256));
        assert!(LOG.is_run());
        assert_eq!(place.group("ab"), b"\0\x02ab\0\0\0\x01\0\0\0\x02"[..]);
    }

    #[test]
    fn a_commit_is_read_back() {
        let value = commit(7, "id");
        assert_eq!(value, b"\x01\0\0\0\0\0\0\0\x07id"[..]);
        assert_eq!(committed(&value).unwrap(), (7, "id".to_owned()));
        assert!(committed(b"\x02").is_err());
    }
}
