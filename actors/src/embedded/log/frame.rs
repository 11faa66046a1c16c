//! A record as it stands in a row of the log (`docs/formats.md`, "Embedded log").

use bytes::{BufMut, Bytes, BytesMut};
use telemill_engine::clock::Timestamp;
use telemill_engine::record::{EventId, Origin, Sent};
use ulid::Ulid;

use crate::log::headers::{HeaderList, MessageHeaders, Stamp, name_at, place_of};

/// How a record is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
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

/// What a record has, as bits of one byte.
const STAMP: u8 = 1;
const ORIGIN: u8 = 2;
const DUP: u8 = 4;
const WILL: u8 = 8;

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
        let kind_length = u8::try_from(stamp.kind.len()).ok()?;
        let mut has = STAMP;
        let mut bytes = Vec::with_capacity(61 + stamp.kind.len());
        bytes.put_u128(stamp.id.0.0);
        bytes.put_u64(stamp.received_at.as_millis());
        bytes.put_u8(kind_length);
        bytes.put_slice(stamp.kind.as_bytes());
        if let Some(origin) = &stamp.origin {
            has |= ORIGIN;
            bytes.put_u16(origin.slot);
            bytes.put_u128(origin.slot_session.0);
            bytes.put_u64(origin.delivery);
            bytes.put_u16(origin.packet_id);
            bytes.put_u64(origin.payload_hash);
        }
        for (bit, _) in [(DUP, stamp.sent.dup), (WILL, stamp.sent.will)].into_iter().filter(|(_, said)| *said) {
            has |= bit;
        }
        Some(FrameHeaders { has, stamp: bytes, ..FrameHeaders::default() })
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
pub(crate) fn read(record: &Bytes, form: Form) -> Option<Frame<'_>> {
    let mut rest = Rest(record);
    let key = match rest.u16()? {
        NO_KEY => None,
        length => Some(rest.take(usize::from(length))?),
    };
    let mut headers = match form {
        Form::Stamped => rest.stamp()?,
        Form::Numbered | Form::Named => MessageHeaders::default(),
    };
    let is_named = form == Form::Named;
    for _ in 0..rest.u16()? {
        let place = if is_named { NAMED } else { rest.u8()? };
        let name = rest.name(place)?;
        let length = if is_named { LONG } else { rest.u8()? };
        headers.set(name, rest.value(length)?);
    }
    let value = record.slice(record.len() - rest.0.len()..);
    Some(Frame { key, headers, value })
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// The stamp, if there is one, as headers that have no others yet.
    fn stamp(&mut self) -> Option<MessageHeaders<'a>> {
        let has = self.u8()?;
        if has == 0 {
            return Some(MessageHeaders::default());
        }
        if has & STAMP == 0 || has & !(STAMP | ORIGIN | DUP | WILL) != 0 {
            return None;
        }
        let id = EventId(Ulid(u128::from_be_bytes(self.array()?)));
        let received_at = Timestamp(u64::from_be_bytes(self.array()?));
        let kind_length = usize::from(self.u8()?);
        let kind = std::str::from_utf8(self.take(kind_length)?).ok()?;
        let origin = if has & ORIGIN == 0 { None } else { Some(self.origin()?) };
        let sent = Sent { dup: has & DUP != 0, will: has & WILL != 0 };
        Some(MessageHeaders::stamped(Stamp { id, received_at, kind, origin, sent }))
    }

    fn origin(&mut self) -> Option<Origin> {
        Some(Origin {
            slot: self.u16()?,
            slot_session: Ulid(u128::from_be_bytes(self.array()?)),
            delivery: u64::from_be_bytes(self.array()?),
            packet_id: self.u16()?,
            payload_hash: u64::from_be_bytes(self.array()?),
        })
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

    fn u8(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.array()?))
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(key: Option<&[u8]>, headers: &FrameHeaders, value: &[u8]) -> Bytes {
        let mut record = BytesMut::new();
        put(&mut record, key, headers, value);
        assert_eq!(record.len(), size(key, headers, value));
        record.freeze()
    }

    fn stamp() -> Stamp<'static> {
        let origin = Origin { slot: 3, slot_session: Ulid(258), delivery: 41, packet_id: 65_535, payload_hash: 0xab };
        let sent = Sent { dup: true, will: false };
        Stamp { id: EventId(Ulid(7)), received_at: Timestamp(259), kind: "hello", origin: Some(origin), sent }
    }

    #[test]
    fn the_written_form_of_a_stamp_is_fixed() {
        let headers = FrameHeaders::stamped(&stamp()).unwrap().with("x", b"y");
        let parts: [&[u8]; 9] = [
            b"\0\x02d1\x07",
            &[0; 15],
            b"\x07\0\0\0\0\0\0\x01\x03\x05hello",
            b"\0\x03",
            &[0; 14],
            b"\x01\x02\0\0\0\0\0\0\0\x29",
            b"\xff\xff\0\0\0\0\0\0\0\xab",
            b"\0\x01\0\0\x01x\x01y",
            b"{}",
        ];
        let record = written(Some(b"d1"), &headers, b"{}");
        assert_eq!(record, parts.concat());
        let read = read(&record, Form::Stamped).unwrap();
        assert_eq!((read.key, &read.value[..]), (Some(&b"d1"[..]), &b"{}"[..]));
        let Stamp { id, received_at, kind, origin, sent } = stamp();
        let headers = read.headers;
        assert_eq!((headers.event_id(), headers.received_at()), (Some(id), Some(received_at)));
        assert_eq!((headers.kind().as_str(), headers.origin(), headers.sent()), (kind, origin, sent));
    }

    #[test]
    fn a_stamp_may_have_less_and_other_bits_are_refused() {
        for (origin, sent) in [(None, Sent::default()), (None, Sent { dup: false, will: true })] {
            let stamp = Stamp { origin, sent, kind: "", ..stamp() };
            let record = written(None, &FrameHeaders::stamped(&stamp).unwrap(), b"1");
            let headers = read(&record, Form::Stamped).unwrap().headers;
            assert_eq!((headers.origin(), headers.sent(), headers.kind().as_str()), (None, sent, "data"));
        }
        let long = "k".repeat(256);
        assert!(FrameHeaders::stamped(&Stamp { kind: &long, ..stamp() }).is_none(), "written in words");
        let record = written(None, &FrameHeaders::stamped(&stamp()).unwrap(), b"1");
        for bits in [2, 4, 8, 0x11] {
            let mut other = record.to_vec();
            other[2] = bits;
            assert!(read(&other.into(), Form::Stamped).is_none(), "{bits}");
        }
    }

    #[test]
    fn a_value_may_be_of_any_length() {
        for length in [0, 1, 254, 255, 256, 70_000] {
            let value = "k".repeat(length);
            let headers = FrameHeaders::with_room(2).with("traceparent", value.as_bytes()).with("kind", b"hello");
            let record = written(None, &headers, b"1");
            let read = read(&record, Form::Stamped).unwrap();
            assert_eq!(read.headers.traceparent(), Some(&*value));
            assert_eq!((read.headers.kind().as_str(), &read.value[..]), ("hello", &b"1"[..]));
        }
    }

    #[test]
    fn a_record_may_have_neither_key_nor_headers_nor_bytes() {
        let record = written(None, &FrameHeaders::default(), b"");
        let read = read(&record, Form::Stamped).unwrap();
        assert_eq!((read.key, read.value.len()), (None, 0));
    }

    #[test]
    fn what_has_another_form_is_none() {
        let headers = FrameHeaders::stamped(&stamp()).unwrap().with("x", b"y");
        let record = written(Some(b"d1"), &headers, b"");
        for cut in 0..record.len() {
            assert!(read(&record.slice(..cut), Form::Stamped).is_none(), "{cut}");
        }
        assert!(read(&record, Form::Numbered).is_none());
        assert!(read(&record, Form::Named).is_none());
    }
}
