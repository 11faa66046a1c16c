//! A record's stamp in numbers (`docs/formats.md`, "Embedded log"): as text it is formatted once, parsed by each reader, and
//! a third of what many a record takes.

use bytes::BufMut;
use telemill_engine::clock::Timestamp;
use telemill_engine::record::{EventId, Origin, Sent};
use ulid::Ulid;

use super::frame::Rest;
use crate::log::headers::Stamp;

/// What a record has, as bits of one byte.
const STAMP: u8 = 1;
const ORIGIN: u8 = 2;
const DUP: u8 = 4;
const WILL: u8 = 8;

/// Of the identity, the time and the length of the kind.
const IDENTITY_BYTES: usize = 16 + 8 + 1;
const ORIGIN_BYTES: usize = 2 + 16 + 8 + 2 + 8;

/// The byte that says what there is, and the stamp; `None` where its kind is too long a word.
pub(super) fn write(stamp: &Stamp<'_>) -> Option<(u8, Vec<u8>)> {
    let kind_length = u8::try_from(stamp.kind.len()).ok()?;
    let mut has = STAMP;
    let mut bytes = Vec::with_capacity(IDENTITY_BYTES + stamp.kind.len() + ORIGIN_BYTES);
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
    if stamp.sent.dup {
        has |= DUP;
    }
    if stamp.sent.will {
        has |= WILL;
    }
    Some((has, bytes))
}

/// Takes the stamp, if the record has one; `None` where it does not have the form.
pub(super) fn read<'a>(rest: &mut Rest<'a>) -> Option<Option<Stamp<'a>>> {
    let has = rest.u8()?;
    if has == 0 {
        return Some(None);
    }
    if has & STAMP == 0 || has & !(STAMP | ORIGIN | DUP | WILL) != 0 {
        return None;
    }
    let id = EventId(Ulid(u128::from_be_bytes(rest.array()?)));
    let received_at = Timestamp(u64::from_be_bytes(rest.array()?));
    let kind_length = usize::from(rest.u8()?);
    let kind = std::str::from_utf8(rest.take(kind_length)?).ok()?;
    let origin = if has & ORIGIN == 0 { None } else { Some(origin(rest)?) };
    let sent = Sent { dup: has & DUP != 0, will: has & WILL != 0 };
    Some(Some(Stamp { id, received_at, kind, origin, sent }))
}

fn origin(rest: &mut Rest<'_>) -> Option<Origin> {
    Some(Origin {
        slot: rest.u16()?,
        slot_session: Ulid(u128::from_be_bytes(rest.array()?)),
        delivery: u64::from_be_bytes(rest.array()?),
        packet_id: rest.u16()?,
        payload_hash: u64::from_be_bytes(rest.array()?),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::embedded::log::frame::tests::written;
    use crate::embedded::log::frame::{Encoding, FrameHeaders, read};
    use crate::log::headers::HeaderList;

    pub(in crate::embedded::log) fn stamp() -> Stamp<'static> {
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
        let read = read(&record, Encoding::Stamped).unwrap();
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
            let headers = read(&record, Encoding::Stamped).unwrap().headers;
            assert_eq!((headers.origin(), headers.sent(), headers.kind().as_str()), (None, sent, "data"));
        }
        let long = "k".repeat(256);
        assert!(FrameHeaders::stamped(&Stamp { kind: &long, ..stamp() }).is_none(), "written in words");
        let record = written(None, &FrameHeaders::stamped(&stamp()).unwrap(), b"1");
        for bits in [2, 4, 8, 0x11] {
            let mut other = record.to_vec();
            other[2] = bits;
            assert!(read(&other.into(), Encoding::Stamped).is_none(), "{bits}");
        }
    }

    #[test]
    fn the_stamp_counts_more_than_headers() {
        let words = |headers: FrameHeaders| {
            let headers =
                headers.with("event-id", b"00000000000000000000000001").with("kind", b"data").with("slot", b"9");
            let headers = headers.with("slot-session", b"00000000000000000000000001").with("delivery", b"1");
            headers.with("packet-id", b"1").with("payload-hash", b"0000000000000001").with("will", b"1")
        };
        for origin in [None, stamp().origin] {
            let stamp = Stamp { origin, ..stamp() };
            let record = written(None, &words(FrameHeaders::stamped(&stamp).unwrap()), b"1");
            let headers = read(&record, Encoding::Stamped).unwrap().headers;
            assert_eq!((headers.event_id(), headers.kind().as_str()), (Some(stamp.id), stamp.kind));
            assert_eq!((headers.origin(), headers.sent()), (origin, stamp.sent));
        }
        let record = written(None, &words(FrameHeaders::default()), b"1");
        assert_eq!(read(&record, Encoding::Stamped).unwrap().headers.origin().unwrap().slot, 9);
    }
}
