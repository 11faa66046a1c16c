//! The headers of `docs/formats.md`: written from a record, and read back from a message.
//!
//! What does not have the form given there is taken as absent: foreign producers use some of these names, too.

use std::fmt::Write;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use telemill_engine::clock::Timestamp;
use telemill_engine::ports::{GivenUp, Taken};
use telemill_engine::record::{DeadReason, EventId, Kind, Origin, Record, Sent};
use ulid::Ulid;

const EVENT_ID: &str = "event-id";
const RECEIVED_AT: &str = "received-at-ms";
const KIND: &str = "kind";
const SLOT: &str = "slot";
const SLOT_SESSION: &str = "slot-session";
const DELIVERY: &str = "delivery";
const PACKET_ID: &str = "packet-id";
const PAYLOAD_HASH: &str = "payload-hash";
const DUP: &str = "dup";
const WILL: &str = "will";
const TRACEPARENT: &str = "traceparent";
const DEAD_REASON: &str = "dead-reason";
const DEAD_DETAIL: &str = "dead-detail";
const DEAD_TOPOLOGY: &str = "dead-topology";
const DEAD_STAGE: &str = "dead-stage";
const DEAD_ATTEMPTS: &str = "dead-attempts";
const DEAD_SOURCE: &str = "dead-source";
const DEAD_AT: &str = "dead-at-ms";

/// All of them. A log of our own writes the place of a name here, from 1 on, instead of the name: so names are only ever
/// added, at the end, and with a new version of the page (`embedded/log/page.rs`), since who lacks a name cannot read on.
const NAMES: [&str; 18] = [
    EVENT_ID,
    RECEIVED_AT,
    KIND,
    SLOT,
    SLOT_SESSION,
    DELIVERY,
    PACKET_ID,
    PAYLOAD_HASH,
    DUP,
    WILL,
    TRACEPARENT,
    DEAD_REASON,
    DEAD_DETAIL,
    DEAD_TOPOLOGY,
    DEAD_STAGE,
    DEAD_ATTEMPTS,
    DEAD_SOURCE,
    DEAD_AT,
];

/// The place of a name among [`NAMES`], from 1 on.
pub(crate) fn place_of(name: &str) -> Option<u8> {
    let at = NAMES.iter().position(|known| *known == name)?;
    u8::try_from(at + 1).ok()
}

/// The name at a place.
pub(crate) fn name_at(place: u8) -> Option<&'static str> {
    NAMES.get(usize::from(place).checked_sub(1)?).copied()
}

/// The value of a header that is there or not.
const SAID: &[u8] = b"1";

/// What the ingress stamps a record with: which it is, and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp<'a> {
    /// Its identity.
    pub id: EventId,
    /// When the ingress received it.
    pub received_at: Timestamp,
    /// The word that routes it.
    pub kind: &'a str,
    /// The delivery it came from, while it is known.
    pub origin: Option<Origin>,
    /// What the protocol said of it.
    pub sent: Sent,
}

/// Headers as a log's client takes them, in order.
pub trait HeaderList: Sized {
    /// A list with a stamp in a form of the log's own. `None` where the log has no such form, or the stamp does not fit it: the
    /// caller then writes one header for each part.
    fn stamped(_stamp: &Stamp<'_>) -> Option<Self> {
        None
    }

    /// An empty list with room for this many.
    fn with_room(count: usize) -> Self;
    /// The list with one more.
    fn with(self, name: &str, value: &[u8]) -> Self;
}

/// Writes headers; keeps a buffer, so that a record costs no allocation on this side.
#[derive(Debug, Default)]
pub struct HeaderWriter {
    text: String,
}

impl HeaderWriter {
    /// The headers that every record has.
    pub fn identity<H: HeaderList>(&mut self, id: EventId, received_at: Timestamp, kind: &Kind) -> H {
        self.stamp(&Stamp { id, received_at, kind: kind.as_str(), origin: None, sent: Sent::default() })
    }

    /// All headers of a record, those of a dead letter excepted.
    pub fn record<H: HeaderList>(&mut self, record: &Record) -> H {
        let &Record { id, received_at, origin, sent, .. } = record;
        let headers: H = self.stamp(&Stamp { id, received_at, kind: record.kind.as_str(), origin, sent });
        match &record.traceparent {
            Some(traceparent) => headers.with(TRACEPARENT, traceparent.as_bytes()),
            None => headers,
        }
    }

    fn stamp<H: HeaderList>(&mut self, stamp: &Stamp<'_>) -> H {
        H::stamped(stamp).unwrap_or_else(|| self.stamp_in_words(stamp))
    }

    fn stamp_in_words<H: HeaderList>(&mut self, stamp: &Stamp<'_>) -> H {
        let mut event_id = [0; ulid::ULID_LEN];
        let headers = H::with_room(9);
        let headers = headers.with(EVENT_ID, stamp.id.0.array_to_str(&mut event_id).as_bytes());
        let headers = self.add_text(headers, RECEIVED_AT, format_args!("{}", stamp.received_at.as_millis()));
        let mut headers = headers.with(KIND, stamp.kind.as_bytes());
        if let Some(origin) = &stamp.origin {
            let mut slot_session = [0; ulid::ULID_LEN];
            let slot_session = origin.slot_session.array_to_str(&mut slot_session);
            headers = self.add_text(headers, SLOT, format_args!("{}", origin.slot));
            headers = headers.with(SLOT_SESSION, slot_session.as_bytes());
            headers = self.add_text(headers, DELIVERY, format_args!("{}", origin.delivery));
            headers = self.add_text(headers, PACKET_ID, format_args!("{}", origin.packet_id));
            headers = self.add_text(headers, PAYLOAD_HASH, format_args!("{:016x}", origin.payload_hash));
        }
        for (name, _) in [(DUP, stamp.sent.dup), (WILL, stamp.sent.will)].into_iter().filter(|(_, said)| *said) {
            headers = headers.with(name, SAID);
        }
        headers
    }

    /// Adds the headers of a dead letter of a topology.
    pub fn dead<H: HeaderList>(&mut self, headers: H, topology: &str, dead: &DeadReason, at: Timestamp) -> H {
        let headers = headers.with(DEAD_REASON, dead.reason.0.as_bytes());
        let headers = headers.with(DEAD_DETAIL, dead.detail.as_bytes());
        let headers = headers.with(DEAD_TOPOLOGY, topology.as_bytes());
        let headers = headers.with(DEAD_STAGE, dead.stage.as_bytes());
        let headers = self.add_text(headers, DEAD_ATTEMPTS, format_args!("{}", dead.attempts));
        let headers = headers.with(DEAD_SOURCE, &dead.source);
        self.add_text(headers, DEAD_AT, format_args!("{}", at.as_millis()))
    }

    fn add_text<H: HeaderList>(&mut self, headers: H, key: &str, value: std::fmt::Arguments<'_>) -> H {
        self.text.clear();
        self.text.write_fmt(value).expect("writing to a string cannot fail");
        headers.with(key, self.text.as_bytes())
    }
}

/// The headers of a message that mean something here, as they stand. Of a name that occurs twice the last counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct MessageHeaders<'a> {
    /// In the log's own form. What it says counts more than headers.
    stamp: Option<Stamp<'a>>,
    event_id: Option<&'a [u8]>,
    received_at: Option<&'a [u8]>,
    kind: Option<&'a [u8]>,
    slot: Option<&'a [u8]>,
    slot_session: Option<&'a [u8]>,
    delivery: Option<&'a [u8]>,
    packet_id: Option<&'a [u8]>,
    payload_hash: Option<&'a [u8]>,
    dup: Option<&'a [u8]>,
    will: Option<&'a [u8]>,
    traceparent: Option<&'a [u8]>,
    dead_topology: Option<&'a [u8]>,
    dead_stage: Option<&'a [u8]>,
    dead_source: Option<&'a [u8]>,
}

impl<'a> MessageHeaders<'a> {
    /// The headers of a message that has a stamp, and no others yet.
    pub(crate) fn stamped(stamp: Stamp<'a>) -> Self {
        MessageHeaders { stamp: Some(stamp), ..MessageHeaders::default() }
    }

    /// Takes the next header of a message.
    pub(crate) fn set(&mut self, name: &[u8], value: &'a [u8]) {
        let Ok(name) = std::str::from_utf8(name) else {
            return;
        };
        let place = match name {
            EVENT_ID => &mut self.event_id,
            RECEIVED_AT => &mut self.received_at,
            KIND => &mut self.kind,
            SLOT => &mut self.slot,
            SLOT_SESSION => &mut self.slot_session,
            DELIVERY => &mut self.delivery,
            PACKET_ID => &mut self.packet_id,
            PAYLOAD_HASH => &mut self.payload_hash,
            DUP => &mut self.dup,
            WILL => &mut self.will,
            TRACEPARENT => &mut self.traceparent,
            DEAD_TOPOLOGY => &mut self.dead_topology,
            DEAD_STAGE => &mut self.dead_stage,
            DEAD_SOURCE => &mut self.dead_source,
            _ => return,
        };
        *place = Some(value);
    }

    /// The identity that the ingress stamped.
    pub fn event_id(&self) -> Option<EventId> {
        self.stamp.map(|stamp| stamp.id).or_else(|| parse(self.event_id))
    }

    /// When the ingress received it.
    pub fn received_at(&self) -> Option<Timestamp> {
        self.stamp.map(|stamp| stamp.received_at).or_else(|| parse(self.received_at).map(Timestamp))
    }

    /// The word that routes it; `data` for a foreign record without one.
    pub fn kind(&self) -> Kind {
        self.stamp
            .map(|stamp| stamp.kind)
            .or_else(|| text(self.kind))
            .filter(|word| !word.is_empty())
            .map_or(Kind::Data, Kind::from)
    }

    /// The MQTT delivery it came from.
    pub fn origin(&self) -> Option<Origin> {
        if let Some(stamp) = &self.stamp {
            return stamp.origin;
        }
        let payload_hash = text(self.payload_hash).filter(|digits| digits.len() == 16);
        Some(Origin {
            slot: parse(self.slot)?,
            slot_session: Ulid::from_string(text(self.slot_session)?).ok()?,
            delivery: parse(self.delivery)?,
            packet_id: parse(self.packet_id)?,
            payload_hash: u64::from_str_radix(payload_hash?, 16).ok()?,
        })
    }

    /// What the protocol said of it.
    pub fn sent(&self) -> Sent {
        if let Some(stamp) = &self.stamp {
            return stamp.sent;
        }
        let said = |value: Option<&[u8]>| value.is_some_and(|value| value == SAID);
        Sent { dup: said(self.dup), will: said(self.will) }
    }

    /// The W3C trace context.
    pub fn traceparent(&self) -> Option<&'a str> {
        text(self.traceparent)
    }

    /// The production of an MQTT slot-session that it is.
    pub fn taken(&self) -> Option<Taken> {
        Some(Taken { origin: self.origin()?, given_up_by: text(self.dead_stage).map(Arc::from) })
    }

    /// The record of a topology that this is the dead letter of.
    pub fn given_up_in(&self, topology: &str) -> Option<GivenUp> {
        text(self.dead_topology).filter(|of| *of == topology)?;
        let stage = text(self.dead_stage)?.into();
        Some(GivenUp { id: self.event_id()?, stage, source: Bytes::copy_from_slice(self.dead_source?) })
    }
}

fn text(value: Option<&[u8]>) -> Option<&str> {
    value.and_then(|value| std::str::from_utf8(value).ok())
}

fn parse<T: FromStr>(value: Option<&[u8]>) -> Option<T> {
    text(value)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use telemill_engine::record::Reason;

    fn record() -> Record {
        let id = EventId(Ulid::from_parts(7, 9));
        let device = "d1".parse().unwrap();
        let mut record = Record::new(id, device, Kind::Hello, Bytes::new(), Timestamp(1_678_886_400_999));
        record.origin = Some(Origin {
            slot: 3,
            slot_session: Ulid::from_parts(1, 2),
            delivery: 41,
            packet_id: 65_535,
            payload_hash: 0xab,
        });
        record.sent = Sent { dup: true, will: true };
        record.traceparent = Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into());
        record
    }

    type Pairs = Vec<(String, Vec<u8>)>;

    impl HeaderList for Pairs {
        fn with_room(count: usize) -> Self {
            Vec::with_capacity(count)
        }
        fn with(mut self, name: &str, value: &[u8]) -> Self {
            self.push((name.to_owned(), value.to_vec()));
            self
        }
    }

    fn pairs(headers: &Pairs) -> Vec<(&str, &str)> {
        headers.iter().map(|(name, value)| (name.as_str(), std::str::from_utf8(value).unwrap())).collect()
    }

    #[test]
    fn headers_are_written_as_the_format_says() {
        let headers = HeaderWriter::default().record(&record());
        assert_eq!(
            pairs(&headers),
            [
                ("event-id", "00000000070000000000000009"),
                ("received-at-ms", "1678886400999"),
                ("kind", "hello"),
                ("slot", "3"),
                ("slot-session", "00000000010000000000000002"),
                ("delivery", "41"),
                ("packet-id", "65535"),
                ("payload-hash", "00000000000000ab"),
                ("dup", "1"),
                ("will", "1"),
                ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            ]
        );
    }

    #[test]
    fn a_dead_letter_says_why() {
        let dead = DeadReason {
            reason: Reason::NOT_JSON,
            detail: "expected value at column 1".into(),
            stage: "ingress".into(),
            attempts: 1,
            source: Bytes::from_static(b"devices/d1/data"),
        };
        let mut writer = HeaderWriter::default();
        let headers = Pairs::new();
        let headers = writer.dead(headers, "iot", &dead, Timestamp(5));
        assert_eq!(
            pairs(&headers),
            [
                ("dead-reason", "not_json"),
                ("dead-detail", "expected value at column 1"),
                ("dead-topology", "iot"),
                ("dead-stage", "ingress"),
                ("dead-attempts", "1"),
                ("dead-source", "devices/d1/data"),
                ("dead-at-ms", "5"),
            ]
        );
    }

    #[test]
    fn the_places_of_names_are_fixed() {
        let names: Vec<_> = (1..).map_while(name_at).collect();
        let expect = "event-id received-at-ms kind slot slot-session delivery packet-id payload-hash dup will traceparent \
                      dead-reason dead-detail dead-topology dead-stage dead-attempts dead-source dead-at-ms";
        assert_eq!(names.join(" "), expect);
        assert!((1..=18).all(|place| name_at(place).and_then(place_of) == Some(place)));
        assert_eq!((place_of("x"), name_at(0)), (None, None));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let record = record();
        let written: Pairs = HeaderWriter::default().record(&record);
        let mut read = MessageHeaders::default();
        for (name, value) in &written {
            read.set(name.as_bytes(), value);
        }
        assert_eq!(read.event_id(), Some(record.id));
        assert_eq!(read.received_at(), Some(record.received_at));
        assert_eq!(read.kind(), record.kind);
        assert_eq!((read.origin(), read.sent()), (record.origin, record.sent));
        assert_eq!(read.traceparent(), record.traceparent.as_deref());
    }

    #[test]
    fn what_has_another_form_is_absent() {
        let mut read = MessageHeaders::default();
        for (name, value) in [
            (&b"event-id"[..], &b"5f3c1c52-0000-0000-0000-000000000000"[..]),
            (b"received-at-ms", b"yesterday"),
            (b"kind", b"\xff"),
            (b"slot", b"1"),
            (b"\xff\xfe", b"x"),
        ] {
            read.set(name, value);
        }
        assert_eq!((read.event_id(), read.received_at()), (None, None));
        assert_eq!(read.kind(), Kind::Data);
        assert_eq!((read.origin(), read.sent()), (None, Sent::default()));
    }
}
