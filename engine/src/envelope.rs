//! The message as it stands in the log: the JSON around a device's own bytes.
//!
//! `{"device_id":"…","payload":…,"timestamp":…,"event_id":"…"}`, in that order, without spaces, the payload byte for
//! byte as the device sent it (`docs/formats.md`, "Message"). What Telemill wrote is taken apart by position, without
//! parsing; what others wrote may order and space it as they like, and only `device_id` (or the key) and `payload`
//! are required of them.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;

use crate::clock::Timestamp;
use crate::device_id::DeviceId;
use crate::record::{EventId, Record};

const HEAD: &[u8] = b"{\"device_id\":\"";
const PAYLOAD: &[u8] = b"\",\"payload\":";
const TIMESTAMP: &[u8] = b",\"timestamp\":";
const EVENT_ID: &[u8] = b",\"event_id\":\"";
const TAIL: &[u8] = b"\"}";
const EVENT_ID_LEN: usize = ulid::ULID_LEN;

/// What is wrong with a message.
#[derive(Debug, Error)]
pub enum EnvelopeError {
    /// It is not a JSON object of the expected fields.
    #[error("message is not the expected JSON object: {0}")]
    Json(#[from] serde_json::Error),
    /// Its event id is not a ULID.
    #[error("event_id `{0}` is not a ULID")]
    EventId(String),
}

/// A message taken apart. `payload` is a slice of the message.
#[derive(Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The `device_id` field; none where a foreign producer left it to the key.
    pub device_id: Option<String>,
    /// The device's own bytes.
    pub payload: Bytes,
    /// Arrival, in whole seconds since the Unix epoch, where given.
    pub timestamp: Option<u64>,
    /// The record's identity, where given.
    pub event_id: Option<EventId>,
}

/// Appends the message of a record to `out`.
///
/// `payload` must be valid JSON; the caller has checked it, because checking is the ingress' business and is not to be
/// paid twice.
pub fn write(out: &mut Vec<u8>, device: &DeviceId, payload: &[u8], received_at: Timestamp, id: EventId) {
    let mut event_id = [0; EVENT_ID_LEN];
    let event_id = id.0.array_to_str(&mut event_id);
    out.reserve(HEAD.len() + device.as_str().len() + payload.len() + 96);
    out.extend_from_slice(HEAD);
    out.extend_from_slice(device.as_str().as_bytes());
    out.extend_from_slice(PAYLOAD);
    out.extend_from_slice(payload);
    out.extend_from_slice(TIMESTAMP);
    push_decimal(out, received_at.as_secs());
    out.extend_from_slice(EVENT_ID);
    out.extend_from_slice(event_id.as_bytes());
    out.extend_from_slice(TAIL);
}

/// The message of a record: as it was read, or made now. A payload without bytes is written as `null`.
pub fn message_of(record: &Record) -> Cow<'_, [u8]> {
    if let Some(message) = &record.message {
        return Cow::Borrowed(message);
    }
    let payload: &[u8] = if record.payload.is_empty() { b"null" } else { &record.payload };
    let mut out = Vec::new();
    write(&mut out, &record.device, payload, record.received_at, record.id);
    Cow::Owned(out)
}

/// Takes a message apart. `stamped` says that it carries Telemill's `event-id` header, so that the fixed form may be
/// trusted; anything else is parsed.
pub fn read(message: &Bytes, stamped: bool) -> Result<Envelope, EnvelopeError> {
    match stamped.then(|| read_own(message)).flatten() {
        Some(own) => Ok(own),
        None => read_foreign(message),
    }
}

/// The form that [`write`] makes, recognised from both ends; none when it is any other.
///
/// A payload cannot fake it: the tail is matched backwards from the end of the message, and a device id has no quote.
fn read_own(message: &Bytes) -> Option<Envelope> {
    let rest = message.strip_prefix(HEAD)?;
    let id_len = rest.iter().take(crate::device_id::MAX_DEVICE_ID + 1).position(|b| *b == b'"')?;
    let device_id = std::str::from_utf8(&rest[..id_len]).ok().filter(|id| !id.contains('\\'))?;
    rest[id_len..].strip_prefix(PAYLOAD)?;
    let payload_at = HEAD.len() + id_len + PAYLOAD.len();

    let before_tail = message.strip_suffix(TAIL)?;
    let event_id_at = before_tail.len().checked_sub(EVENT_ID_LEN)?;
    let event_id = std::str::from_utf8(&before_tail[event_id_at..]).ok()?.parse().ok()?;
    let before_event_id = before_tail[..event_id_at].strip_suffix(EVENT_ID)?;
    let digits = before_event_id.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    let (before_digits, digits) = before_event_id.split_at(before_event_id.len() - digits);
    let timestamp = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let payload_end = before_digits.strip_suffix(TIMESTAMP)?.len();
    (payload_at < payload_end).then(|| Envelope {
        device_id: Some(device_id.to_owned()),
        payload: message.slice(payload_at..payload_end),
        timestamp: Some(timestamp),
        event_id: Some(event_id),
    })
}

/// Whether a message that was read as somebody else's, as `envelope`, would be read as another one if it were trusted:
/// where it has a member more between those of the fixed form, that one would count as part of the payload.
pub fn is_mistakable(message: &Bytes, envelope: &Envelope) -> bool {
    read_own(message).is_some_and(|own| own != *envelope)
}

fn read_foreign(message: &Bytes) -> Result<Envelope, EnvelopeError> {
    #[derive(Deserialize)]
    struct Foreign<'a> {
        #[serde(borrow)]
        device_id: Option<Cow<'a, str>>,
        #[serde(borrow)]
        payload: &'a RawValue,
        timestamp: Option<f64>,
        #[serde(borrow)]
        event_id: Option<Cow<'a, str>>,
    }
    let foreign: Foreign<'_> = serde_json::from_slice(message)?;
    let event_id = match foreign.event_id {
        Some(text) => Some(text.parse().map_err(|_| EnvelopeError::EventId(text.into_owned()))?),
        None => None,
    };
    Ok(Envelope {
        device_id: foreign.device_id.map(Cow::into_owned),
        payload: message.slice_ref(foreign.payload.get().as_bytes()),
        timestamp: foreign.timestamp.map(|seconds| seconds as u64),
        event_id,
    })
}

fn push_decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ulid::Ulid;

    fn written(device: &str, payload: &[u8], millis: u64) -> Bytes {
        let mut out = Vec::new();
        write(&mut out, &device.parse().unwrap(), payload, Timestamp(millis), EventId(Ulid::from_parts(7, 9)));
        out.into()
    }

    #[test]
    fn the_written_form_is_fixed() {
        let message = written("d1", br#"{"temperature": 21.50}"#, 1_678_886_400_999);
        assert_eq!(
            std::str::from_utf8(&message).unwrap(),
            r#"{"device_id":"d1","payload":{"temperature": 21.50},"timestamp":1678886400,"event_id":"00000000070000000000000009"}"#
        );
    }

    #[test]
    fn foreign_messages_may_order_and_omit_fields() {
        let message = Bytes::from_static(br#"{ "timestamp": 12.7, "payload": [1, 2], "x": {} }"#);
        let envelope = read(&message, false).unwrap();
        assert_eq!(envelope.payload, Bytes::from_static(b"[1, 2]"));
        assert_eq!(envelope.timestamp, Some(12));
        assert_eq!((envelope.device_id, envelope.event_id), (None, None));
        assert!(read(&Bytes::from_static(br#"{"device_id":"d1"}"#), false).is_err(), "a payload is required");
        assert!(read(&Bytes::from_static(br#"{"payload":1,"event_id":"no"}"#), false).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(device in "[A-Za-z0-9._:-]{1,128}", text in ".*", millis in 0u64..1 << 48) {
            let payload = serde_json::to_vec(&text).unwrap();
            let message = written(&device, &payload, millis);
            let envelope = read_own(&message).expect("our own form is recognised");
            prop_assert_eq!(&envelope.payload[..], &payload[..]);
            prop_assert_eq!(envelope.timestamp, Some(millis / 1000));
            prop_assert_eq!(envelope, read_foreign(&message).unwrap());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let bytes = Bytes::from(bytes);
            let _ = (read(&bytes, true), read(&bytes, false));
        }
    }
}
