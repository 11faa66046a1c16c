//! A record as it stands in a row of the log (`docs/formats.md`, "Embedded log").

use bytes::{BufMut, Bytes, BytesMut};

use super::stamp;
use crate::log::headers::{HeaderList, MessageHeaders, Stamp, name_at, place_of};

/// How a record is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// With its stamp in numbers, and other headers as in `Numbered`.
    Stamped,
    /// Headers by a number where the name is known, and short lengths in a byte.
    Numbered,
    /// Each header by its name: as it was written first.
    Named,
}

/// In the place of a header's name: the name follows.
const NAMED: u8 = 0;
/// In the place of a value's length: it follows as a u32.
const LONG: u8 = u8::MAX;
const NO_KEY: u16 = u16::MAX;

/// Headers in the form in which they stand in a record.
#[derive(Debug, Default)]
pub(crate) struct FrameHeaders {
    /// What of a stamp there is.
    has: u8,
    stamp: Vec<u8>,
    count: u16,
    others: Vec<u8>,
}

impl HeaderList for FrameHeaders {
    fn stamped(stamp: &Stamp<'_>) -> Option<Self> {
        let (has, stamp) = stamp::write(stamp)?;
        Some(FrameHeaders { has, stamp, ..FrameHeaders::default() })
    }

    fn with_room(count: usize) -> Self {
        FrameHeaders { others: Vec::with_capacity(count * 16), ..FrameHeaders::default() }
    }

    fn with(mut self, name: &str, value: &[u8]) -> Self {
        // Names are our own and short; a value longer than any packet cannot be.
        let (Ok(name_length), Ok(length)) = (u16::try_from(name.len()), u32::try_from(value.len())) else {
            return self;
        };
        self.count += 1;
        match place_of(name) {
            Some(place) => self.others.put_u8(place),
            None => {
                self.others.put_u8(NAMED);
                self.others.put_u16(name_length);
                self.others.put_slice(name.as_bytes());
            }
        }
        match u8::try_from(length).ok().filter(|length| *length < LONG) {
            Some(length) => self.others.put_u8(length),
            None => {
                self.others.put_u8(LONG);
                self.others.put_u32(length);
            }
        }
        self.others.put_slice(value);
        self
    }
}

/// The bytes of a record.
pub(crate) fn size(key: Option<&[u8]>, headers: &FrameHeaders, value: &[u8]) -> usize {
    2 + key.map_or(0, <[u8]>::len) + 1 + headers.stamp.len() + 2 + headers.others.len() + value.len()
}

/// Puts a record behind what is there. Keys are device ids, which are shorter than any length that a key may have.
pub(crate) fn put(to: &mut BytesMut, key: Option<&[u8]>, headers: &FrameHeaders, value: &[u8]) {
    to.put_u16(key.and_then(|key| u16::try_from(key.len()).ok()).unwrap_or(NO_KEY));
    to.put_slice(key.unwrap_or_default());
    to.put_u8(headers.has);
    to.put_slice(&headers.stamp);
    to.put_u16(headers.count);
    to.put_slice(&headers.others);
    to.put_slice(value);
}

/// A record taken apart.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) headers: MessageHeaders<'a>,
    /// A slice of the record.
    pub(crate) value: Bytes,
}

/// Takes a record apart; `None` where it does not have the form.
pub(crate) fn read(record: &Bytes, encoding: Encoding) -> Option<Frame<'_>> {
    let mut rest = Rest(record);
    let key = match rest.u16()? {
        NO_KEY => None,
        length => Some(rest.take(usize::from(length))?),
    };
    let mut headers = match encoding {
        Encoding::Stamped => stamp::read(&mut rest)?.map_or_else(MessageHeaders::default, MessageHeaders::stamped),
        Encoding::Numbered | Encoding::Named => MessageHeaders::default(),
    };
    let is_named = encoding == Encoding::Named;
    for _ in 0..rest.u16()? {
        let place = if is_named { NAMED } else { rest.u8()? };
        let name = rest.name(place)?;
        let length = if is_named { LONG } else { rest.u8()? };
        headers.set(name, rest.value(length)?);
    }
    let value = record.slice(record.len() - rest.0.len()..);
    Some(Frame { key, headers, value })
}

/// What is left of a record that is being taken apart.
pub(super) struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// The name for which a byte stands.
    fn name(&mut self, place: u8) -> Option<&'a [u8]> {
        match place {
            NAMED => {
                let length = usize::from(self.u16()?);
                self.take(length)
            }
            place => Some(name_at(place)?.as_bytes()),
        }
    }

    /// The value whose length is a byte, or stands behind it.
    fn value(&mut self, length: u8) -> Option<&'a [u8]> {
        let length = match length {
            LONG => usize::try_from(u32::from_be_bytes(self.array()?)).ok()?,
            length => usize::from(length),
        };
        self.take(length)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.array()?))
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::embedded::log) fn written(key: Option<&[u8]>, headers: &FrameHeaders, value: &[u8]) -> Bytes {
        let mut record = BytesMut::new();
        put(&mut record, key, headers, value);
        assert_eq!(record.len(), size(key, headers, value));
        record.freeze()
    }

    #[test]
    fn a_value_may_be_of_any_length() {
        for length in [0, 1, 254, 255, 256, 70_000] {
            let value = "k".repeat(length);
            let headers = FrameHeaders::with_room(2).with("traceparent", value.as_bytes()).with("kind", b"hello");
            let record = written(None, &headers, b"1");
            let read = read(&record, Encoding::Stamped).unwrap();
            assert_eq!(read.headers.traceparent(), Some(&*value));
            assert_eq!((read.headers.kind().as_str(), &read.value[..]), ("hello", &b"1"[..]));
        }
    }

    #[test]
    fn a_record_may_have_neither_key_nor_headers_nor_bytes() {
        let record = written(None, &FrameHeaders::default(), b"");
        let read = read(&record, Encoding::Stamped).unwrap();
        assert_eq!((read.key, read.value.len()), (None, 0));
    }

    #[test]
    fn what_has_another_form_is_none() {
        let headers = FrameHeaders::stamped(&stamp::tests::stamp()).unwrap().with("x", b"y");
        let record = written(Some(b"d1"), &headers, b"");
        for cut in 0..record.len() {
            assert!(read(&record.slice(..cut), Encoding::Stamped).is_none(), "{cut}");
        }
        assert!(read(&record, Encoding::Numbered).is_none());
        assert!(read(&record, Encoding::Named).is_none());
    }
}
