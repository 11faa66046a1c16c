//! A record as it stands in the log (`docs/formats.md`, "Embedded log").

use bytes::{BufMut, Bytes, BytesMut};
use telemill_engine::clock::Timestamp;

use crate::log::headers::{HeaderList, MessageHeaders, name_at, place_of};

const VERSION: u8 = 2;
/// The form in which every header had its name.
const WITH_NAMES: u8 = 1;
/// In the place of a header's name: the name follows.
const NAMED: u8 = 0;
/// In the place of a value's length: it follows as a u32.
const LONG: u8 = u8::MAX;
const NO_KEY: u16 = u16::MAX;
/// Of the version and the time.
const FIXED: usize = 9;

/// Headers in the form in which they stand in a record.
#[derive(Debug, Default)]
pub(crate) struct FrameHeaders {
    count: u16,
    bytes: Vec<u8>,
}

impl HeaderList for FrameHeaders {
    fn with_room(count: usize) -> Self {
        FrameHeaders { count: 0, bytes: Vec::with_capacity(count * 16) }
    }

    fn with(mut self, name: &str, value: &[u8]) -> Self {
        // Names are our own and short; a value longer than any packet cannot be.
        let (Ok(name_length), Ok(length)) = (u16::try_from(name.len()), u32::try_from(value.len())) else {
            return self;
        };
        self.count += 1;
        match place_of(name) {
            Some(place) => self.bytes.put_u8(place),
            None => {
                self.bytes.put_u8(NAMED);
                self.bytes.put_u16(name_length);
                self.bytes.extend_from_slice(name.as_bytes());
            }
        }
        match u8::try_from(length).ok().filter(|length| *length < LONG) {
            Some(length) => self.bytes.put_u8(length),
            None => {
                self.bytes.put_u8(LONG);
                self.bytes.put_u32(length);
            }
        }
        self.bytes.extend_from_slice(value);
        self
    }
}

/// Puts a record together. Keys are device ids, which are shorter than any length that a key may have.
pub(crate) fn write(at: Timestamp, key: Option<&[u8]>, headers: &FrameHeaders, value: &[u8]) -> Bytes {
    let key_bytes = key.unwrap_or_default();
    let size = FIXED + 2 + key_bytes.len() + 2 + headers.bytes.len() + value.len();
    let mut frame = BytesMut::with_capacity(size);
    frame.put_u8(VERSION);
    frame.put_u64(at.as_millis());
    frame.put_u16(key.and_then(|key| u16::try_from(key.len()).ok()).unwrap_or(NO_KEY));
    frame.put_slice(key_bytes);
    frame.put_u16(headers.count);
    frame.put_slice(&headers.bytes);
    frame.put_slice(value);
    frame.freeze()
}

/// A record taken apart.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    /// When the log took it.
    pub(crate) at: Timestamp,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) headers: MessageHeaders<'a>,
    /// A slice of the record.
    pub(crate) value: Bytes,
}

/// Takes a record apart; `None` where it does not have the form.
pub(crate) fn read(frame: &Bytes) -> Option<Frame<'_>> {
    let mut rest = Rest(frame);
    let version = rest.u8()?;
    if ![VERSION, WITH_NAMES].contains(&version) {
        return None;
    }
    let at = u64::from_be_bytes(rest.take(8)?.try_into().ok()?);
    let key = match rest.u16()? {
        NO_KEY => None,
        length => Some(rest.take(usize::from(length))?),
    };
    let has_names = version == WITH_NAMES;
    let mut headers = MessageHeaders::default();
    for _ in 0..rest.u16()? {
        let place = if has_names { NAMED } else { rest.u8()? };
        let name = rest.name(place)?;
        let length = if has_names { LONG } else { rest.u8()? };
        headers.set(name, rest.value(length)?);
    }
    let value = frame.slice(frame.len() - rest.0.len()..);
    Some(Frame { at: Timestamp(at), key, headers, value })
}

/// When the log took a record, without taking all of it apart.
pub(crate) fn time(frame: &[u8]) -> Option<Timestamp> {
    Some(Timestamp(u64::from_be_bytes(frame.get(1..FIXED)?.try_into().ok()?)))
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
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
            LONG => usize::try_from(u32::from_be_bytes(self.take(4)?.try_into().ok()?)).ok()?,
            length => usize::from(length),
        };
        self.take(length)
    }

    fn u8(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_written_form_is_fixed() {
        let headers = FrameHeaders::with_room(2).with("kind", b"hello").with("x", b"");
        let frame = write(Timestamp(258), Some(b"d1"), &headers, b"{}");
        let expect = b"\x02\0\0\0\0\0\0\x01\x02\0\x02d1\0\x02\x03\x05hello\0\0\x01x\0{}";
        assert_eq!(frame, expect[..]);
        check_read(&frame);
    }

    #[test]
    fn the_form_of_before_is_read() {
        let frame = b"\x01\0\0\0\0\0\0\x01\x02\0\x02d1\0\x02\0\x04kind\0\0\0\x05hello\0\x01x\0\0\0\0{}";
        check_read(&Bytes::from_static(frame));
    }

    fn check_read(frame: &Bytes) {
        let read = read(frame).unwrap();
        assert_eq!((read.at, read.key), (Timestamp(258), Some(&b"d1"[..])));
        assert_eq!(read.headers.kind().as_str(), "hello");
        assert_eq!(read.value, b"{}"[..]);
        assert_eq!(time(frame), Some(Timestamp(258)));
    }

    #[test]
    fn a_value_may_be_of_any_length() {
        for length in [0, 1, 254, 255, 256, 70_000] {
            let value = "k".repeat(length);
            let headers = FrameHeaders::with_room(2).with("traceparent", value.as_bytes()).with("kind", b"hello");
            let frame = write(Timestamp(1), None, &headers, b"1");
            let read = read(&frame).unwrap();
            assert_eq!(read.headers.traceparent(), Some(&*value));
            assert_eq!((read.headers.kind().as_str(), &read.value[..]), ("hello", &b"1"[..]));
        }
    }

    #[test]
    fn a_record_may_have_neither_key_nor_headers_nor_bytes() {
        let frame = write(Timestamp(0), None, &FrameHeaders::default(), b"");
        let read = read(&frame).unwrap();
        assert_eq!((read.key, read.value.len()), (None, 0));
    }

    #[test]
    fn what_has_another_form_is_none() {
        let headers = FrameHeaders::with_room(1).with("kind", b"hello");
        let frame = write(Timestamp(1), Some(b"d1"), &headers, b"");
        for cut in 0..frame.len() {
            assert!(read(&frame.slice(..cut)).is_none(), "{cut}");
        }
        let mut other = frame.to_vec();
        other[0] = 3;
        assert!(read(&other.into()).is_none());
    }
}
