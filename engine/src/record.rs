//! The record: one message of one device, and what it carries on its way.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use ulid::Ulid;
use xxhash_rust::xxh3::xxh3_128;

use crate::clock::Timestamp;
use crate::device_id::DeviceId;
use crate::position::Position;

/// The identity of a record: a ULID stamped at the ingress, kept on every replay. Sortable by time of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(pub Ulid);

impl EventId {
    /// The id of a record that is made out of others, the same on every replay: the time part is `at`, the random part
    /// the first 80 bits of `xxh3_128(name)` (`docs/formats.md`, "Identity").
    pub fn derived(at: Timestamp, name: &[u8]) -> Self {
        EventId(Ulid::from_parts(at.as_millis(), xxh3_128(name) >> 48))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for EventId {
    type Err = ulid::DecodeError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ulid::from_string(text).map(EventId)
    }
}

/// What sort of message a record is: the word that routes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Telemetry, usually JSON.
    Data,
    /// A keep-alive; any body.
    Hello,
    /// A command on its way to a device.
    Command,
    /// A proof that a slot's broker session was alive; see `docs/formats.md`, "Time".
    Mark,
    /// A device went on- or offline.
    Presence,
    /// A transition of an alert.
    Alert,
    /// Any other word that a topology uses.
    Other(Arc<str>),
}

impl Kind {
    /// The word as it stands in the `kind` header.
    pub fn as_str(&self) -> &str {
        match self {
            Kind::Data => "data",
            Kind::Hello => "hello",
            Kind::Command => "command",
            Kind::Mark => "mark",
            Kind::Presence => "presence",
            Kind::Alert => "alert",
            Kind::Other(word) => word,
        }
    }
}

impl From<&str> for Kind {
    fn from(word: &str) -> Kind {
        match word {
            "data" => Kind::Data,
            "hello" => Kind::Hello,
            "command" => Kind::Command,
            "mark" => Kind::Mark,
            "presence" => Kind::Presence,
            "alert" => Kind::Alert,
            other => Kind::Other(other.into()),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which delivery of which MQTT session a record came from. Written to the log's headers so that a restart can tell
/// what had already been produced (`docs/formats.md`, "MQTT redelivery").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The ingress slot.
    pub slot: u16,
    /// The incarnation of the slot's broker session.
    pub slot_session: Ulid,
    /// The running number of the slot-session's productions, from 1.
    pub delivery: u64,
    /// The MQTT packet id of the PUBLISH.
    pub packet_id: u16,
    /// `xxh3_64` of topic, a zero byte, and payload.
    pub payload_hash: u64,
}

impl Origin {
    /// Whether this slot-session produced it.
    pub fn is_of(&self, slot: u16, slot_session: Ulid) -> bool {
        (self.slot, self.slot_session) == (slot, slot_session)
    }
}

/// What the protocol says of a message beside its content, where it is devices' own protocol that a record came by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sent {
    /// The device says that it has sent it before.
    pub dup: bool,
    /// It is a will: said for the device when its connection had ended without a farewell.
    pub will: bool,
}

/// Why a record went to the dead letters, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadReason {
    /// A stable word for metrics and filters, such as `not_json` or `panic`.
    pub reason: Reason,
    /// What was wrong, for a person.
    pub detail: Arc<str>,
    /// The stage that gave it up.
    pub stage: Arc<str>,
    /// How often it was tried.
    pub attempts: u32,
    /// Where it came from: the MQTT topic, or `topic/partition/offset` of the log, and the output index behind that for a
    /// record that was made of another.
    pub source: Bytes,
}

/// A stable word that says why something was dead-lettered, dropped, returned or retried; a metric label value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reason(pub &'static str);

impl Reason {
    /// The component panicked on it.
    pub const PANIC: Reason = Reason("panic");
    /// The body is not JSON.
    pub const NOT_JSON: Reason = Reason("not_json");
    /// The body has no bytes.
    pub const EMPTY: Reason = Reason("empty");
    /// The body nests deeper than `max_depth`.
    pub const TOO_DEEP: Reason = Reason("too_deep");
    /// The body is larger than `max_payload`.
    pub const TOO_LARGE: Reason = Reason("too_large");
    /// The body is not UTF-8.
    pub const NOT_UTF8: Reason = Reason("not_utf8");
    /// The name in the topic or key is no device id.
    pub const BAD_DEVICE_ID: Reason = Reason("bad_device_id");
    /// The record in the log does not have the form that `docs/formats.md` gives.
    pub const BAD_ENVELOPE: Reason = Reason("bad_envelope");
    /// The record stands in another partition of the log than its device belongs to.
    pub const WRONG_PARTITION: Reason = Reason("wrong_partition");
    /// The device had sent it before, by its own message id.
    pub const DUPLICATE: Reason = Reason("duplicate");
    /// The store holds something else under the record's key.
    pub const WRONG_TYPE: Reason = Reason("wrong_type");
    /// The stage had given it up before it was read again: its letter is there.
    pub const GIVEN_UP: Reason = Reason("given_up");
    /// The stage stopped before it was done.
    pub const STOPPED: Reason = Reason("stopped");
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// One message of one device.
///
/// `payload` and `message` are slices of the buffer they were read into: cloning a record copies no body.
#[derive(Clone, Debug)]
pub struct Record {
    /// The identity, stamped at the ingress.
    pub id: EventId,
    /// The key.
    pub device: DeviceId,
    /// The word that routes it.
    pub kind: Kind,
    /// The device's own bytes.
    pub payload: Bytes,
    /// The whole message as it stands in the log, when it came from there; see [`crate::envelope`].
    pub message: Option<Bytes>,
    /// When the ingress received it.
    pub received_at: Timestamp,
    /// Its place in the log; none before it has one.
    pub position: Option<Position>,
    /// The delivery it came from, while it is known.
    pub origin: Option<Origin>,
    /// What the protocol said of it.
    pub sent: Sent,
    /// The W3C trace context, where the producer sent one.
    pub traceparent: Option<Arc<str>>,
    /// Set once the record is a dead letter. A sink that keeps positions still counts its position, and writes nothing
    /// else for it, unless the sink is the dead letters themselves.
    pub dead: Option<Arc<DeadReason>>,
}

impl Record {
    /// A record that has just been received.
    pub fn new(id: EventId, device: DeviceId, kind: Kind, payload: Bytes, received_at: Timestamp) -> Self {
        Record {
            id,
            device,
            kind,
            payload,
            message: None,
            received_at,
            position: None,
            origin: None,
            sent: Sent::default(),
            traceparent: None,
            dead: None,
        }
    }

    /// The bytes that count against a mailbox's capacity: the bodies and a constant for the rest.
    pub fn weight(&self) -> usize {
        const FIXED: usize = std::mem::size_of::<Record>();
        FIXED + self.message.as_ref().map_or(self.payload.len(), Bytes::len)
    }
}
