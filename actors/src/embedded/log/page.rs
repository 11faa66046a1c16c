//! Records as they stand in the log: a page of them in a row (`docs/formats.md`, "Embedded log").
//!
//! What is appended to a partition in one go is one row, as a record batch is in Kafka, because a row costs more than the
//! records in it: in the memtable, in the journal, and each time that tables are merged.

use std::ops::Range;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use telemill_engine::clock::Timestamp;

use super::frame::{self, Encoding, Frame, FrameHeaders};
use super::keys::KEY;
use crate::embedded::prefixed::{PAGE_FULL, split_prefixed};

/// The form of a page. Rows of older forms are one record each.
const VERSION: u8 = 3;
/// Of the version, the time and the number of records.
const FIXED: usize = 13;
/// Of the version and the time of a row that is one record.
const FIXED_ALONE: usize = 9;
/// Of the length of a record in a page.
const LENGTH: usize = 4;

/// A page in the making.
#[derive(Debug)]
pub(crate) struct Page {
    bytes: BytesMut,
    records: u32,
}

impl Page {
    /// An empty page of records that the log takes now.
    pub(crate) fn new(now: Timestamp) -> Page {
        let mut bytes = BytesMut::with_capacity(512);
        bytes.put_u8(VERSION);
        bytes.put_u64(now.as_millis());
        // The number is known at the end.
        bytes.put_u32(0);
        Page { bytes, records: 0 }
    }

    /// Whether a record of so many bytes is for the next page. An empty page has room for any.
    pub(crate) fn is_full_for(&self, size: usize) -> bool {
        self.records > 0 && self.bytes.len() + LENGTH + size > PAGE_FULL
    }

    /// Adds a record. Keys are device ids, which are shorter than any length that a key may have; and no record is as long
    /// as its length may say, since every topic has a bound.
    pub(crate) fn push(&mut self, key: Option<&[u8]>, headers: &FrameHeaders, value: &[u8]) {
        self.bytes.put_u32(frame::size(key, headers, value) as u32);
        frame::put(&mut self.bytes, key, headers, value);
        self.records += 1;
    }

    pub(crate) fn records(&self) -> u32 {
        self.records
    }

    /// The row.
    pub(crate) fn into_row(mut self) -> Bytes {
        self.bytes[FIXED_ALONE..FIXED].copy_from_slice(&self.records.to_be_bytes());
        self.bytes.freeze()
    }
}

/// A row of the log as it is stored: a page, or one record of an older form.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    /// When the log took its records.
    pub(crate) at: Timestamp,
    /// The offset of the first record, and the one behind the last.
    pub(crate) offsets: Range<i64>,
    encoding: Encoding,
    records: Bytes,
}

/// A record of the log.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) offset: i64,
    /// When the log took it.
    pub(crate) at: Timestamp,
    encoding: Encoding,
    bytes: Bytes,
}

impl Stored {
    /// The row whose first record has this offset; `None` where it has no form that is known. Its records are not looked at.
    pub(crate) fn read(first: i64, mut row: Bytes) -> Option<Stored> {
        let version = row.try_get_u8().ok()?;
        let at = Timestamp(row.try_get_u64().ok()?);
        let (encoding, count) = match version {
            VERSION => (Encoding::Stamped, row.try_get_u32().ok()?),
            2 => (Encoding::Numbered, 1),
            1 => (Encoding::Named, 1),
            _ => return None,
        };
        let behind = first.checked_add(i64::from(count)).filter(|_| count > 0)?;
        Some(Stored { at, offsets: first..behind, encoding, records: row })
    }

    /// Whether each record stands behind its length.
    fn is_page(&self) -> bool {
        self.encoding == Encoding::Stamped
    }

    /// The bytes of the row, with its key.
    pub(crate) fn bytes(&self) -> u64 {
        (KEY + if self.is_page() { FIXED } else { FIXED_ALONE } + self.records.len()) as u64
    }

    /// Its records. Where they are not those that the row announces, the offset of the first that is not as it should be
    /// comes as an error; nothing of use comes behind it.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Result<Entry, i64>> + use<> {
        let is_page = self.is_page();
        let Stored { at, offsets, encoding, mut records } = self.clone();
        let last = offsets.end - 1;
        offsets.map(move |offset| {
            let bytes = if is_page { split_prefixed(&mut records) } else { Some(std::mem::take(&mut records)) };
            let bytes = bytes.filter(|_| offset < last || records.is_empty()).ok_or(offset)?;
            Ok(Entry { offset, at, encoding, bytes })
        })
    }
}

impl Entry {
    /// The bytes of the record.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Takes the record apart; `None` where it does not have the form.
    pub(crate) fn frame(&self) -> Option<Frame<'_>> {
        frame::read(&self.bytes, self.encoding)
    }
}

#[cfg(test)]
mod tests {
    use telemill_engine::clock::Timestamp;

    use super::*;
    use crate::log::headers::HeaderList;

    fn values(row: &Stored) -> Vec<Option<(i64, Bytes)>> {
        row.entries().map(|entry| entry.ok().and_then(|entry| Some((entry.offset, entry.frame()?.value)))).collect()
    }

    #[test]
    fn the_written_form_is_fixed() {
        let mut page = Page::new(Timestamp(258));
        page.push(Some(b"d1"), &FrameHeaders::with_room(1).with("kind", b"hello"), b"{}");
        page.push(None, &FrameHeaders::default(), b"");
        let row = page.into_row();
        let records = b"\0\0\0\x10\0\x02d1\0\0\x01\x03\x05hello{}\0\0\0\x05\xff\xff\0\0\0";
        assert_eq!(row, [b"\x03\0\0\0\0\0\0\x01\x02\0\0\0\x02", &records[..]].concat());
        let read = Stored::read(7, row).unwrap();
        assert_eq!((read.at, &read.offsets), (Timestamp(258), &(7..9)));
        assert_eq!(values(&read), [Some((7, Bytes::from_static(b"{}"))), Some((8, Bytes::new()))]);
    }

    #[test]
    fn the_forms_of_before_are_read() {
        let rows: [&[u8]; 2] = [
            b"\x01\0\0\0\0\0\0\x01\x02\0\x02d1\0\x02\0\x04kind\0\0\0\x05hello\0\x01x\0\0\0\0{}",
            b"\x02\0\0\0\0\0\0\x01\x02\0\x02d1\0\x02\x03\x05hello\0\0\x01x\0{}",
        ];
        for row in rows {
            let row = Stored::read(7, Bytes::from_static(row)).unwrap();
            assert_eq!(row.offsets, 7..8);
            let entry = row.entries().next().unwrap().unwrap();
            let frame = entry.frame().unwrap();
            assert_eq!(
                (entry.at, frame.key, frame.headers.kind().as_str()),
                (Timestamp(258), Some(&b"d1"[..]), "hello")
            );
            assert_eq!(frame.value, b"{}"[..]);
        }
    }

    #[test]
    fn what_has_another_form_is_none() {
        let mut page = Page::new(Timestamp(1));
        page.push(Some(b"d1"), &FrameHeaders::default(), b"1");
        page.push(Some(b"d1"), &FrameHeaders::default(), b"2");
        let row = page.into_row();
        for cut in 0..row.len() {
            let read = Stored::read(0, row.slice(..cut));
            assert!(read.is_none_or(|read| values(&read).last() == Some(&None)), "{cut}");
        }
        let longer = Stored::read(0, [&row[..], b"x"].concat().into()).unwrap();
        assert_eq!(longer.entries().map(|entry| entry.map(|entry| entry.offset)).collect::<Vec<_>>(), [Ok(0), Err(1)]);
        for (at, other) in [(0, 4), (12, 0)] {
            let mut changed = row.to_vec();
            changed[at] = other;
            assert!(Stored::read(0, changed.into()).is_none(), "{at}");
        }
        assert!(Stored::read(i64::MAX - 1, row).is_none(), "no such offset");
    }

    #[test]
    fn a_page_takes_what_fits_and_at_least_one() {
        let mut page = Page::new(Timestamp(1));
        assert!(!page.is_full_for(1 << 20));
        page.push(None, &FrameHeaders::default(), b"");
        let left = PAGE_FULL - FIXED - LENGTH - 5 - LENGTH;
        assert!(!page.is_full_for(left));
        assert!(page.is_full_for(left + 1));
    }
}
