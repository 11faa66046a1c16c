//! A command as it comes out of the log and as the device gets it (`docs/formats.md`, "Commands").

use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;
use telemill_engine::clock::Timestamp;
use telemill_engine::device_id::DeviceId;
use telemill_engine::record::{EventId, Kind, Reason, Record};
use telemill_engine::stage::StageError;

use super::queue::Queued;

/// Until when the command may wait for an offline device; none: not at all.
pub(super) fn expires_at(command: &Record) -> Result<Option<Timestamp>, StageError> {
    #[derive(Deserialize)]
    struct Deadline {
        expires_at: Option<u64>,
    }
    let Some(message) = &command.message else { return Ok(None) };
    match serde_json::from_slice::<Deadline>(message) {
        Ok(deadline) => Ok(deadline.expires_at.map(Timestamp)),
        Err(error) => Err(StageError::reject(Reason::BAD_ENVELOPE, format!("the command cannot be read: {error}"))),
    }
}

/// The record that carries a command to its device, with the command's own id.
pub(super) fn for_device(device: &DeviceId, command: &Queued) -> Record {
    let form = with_command_id(command.id, &command.body);
    Record::new(command.id, device.clone(), Kind::Command, form, command.received_at)
}

/// The posted JSON; if it is an object, with `command_id` as its first member.
fn with_command_id(id: EventId, posted: &Bytes) -> Bytes {
    let Some(members) = posted.trim_ascii_start().strip_prefix(b"{") else { return posted.clone() };
    let mut out = BytesMut::with_capacity(posted.len() + 48);
    out.put_slice(b"{\"command_id\":\"");
    out.put_slice(id.0.array_to_str(&mut [0; ulid::ULID_LEN]).as_bytes());
    out.put_u8(b'"');
    if members.trim_ascii_start().first() != Some(&b'}') {
        out.put_u8(b',');
    }
    out.put_slice(members);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ulid::Ulid;

    #[test]
    fn an_object_gets_its_id_as_the_first_member() {
        let check = |posted: &'static str, expect: &str| {
            let id = EventId(Ulid::from_parts(7, 9));
            let form = with_command_id(id, &Bytes::from_static(posted.as_bytes()));
            assert_eq!(std::str::from_utf8(&form).unwrap(), expect);
        };
        let id = r#""command_id":"00000000070000000000000009""#;
        check(r#"{"fan": "on"}"#, &format!(r#"{{{id},"fan": "on"}}"#));
        check("  { }", &format!("{{{id} }}"));
        check("{}", &format!("{{{id}}}"));
        check("[1,2]", "[1,2]");
        check("\"reboot\"", "\"reboot\"");
        check("null", "null");
    }

    #[test]
    fn the_deadline_is_read_beside_the_message() {
        let check = |message: Option<&'static str>, expect: Result<Option<u64>, ()>| {
            let device = "d1".parse().unwrap();
            let body = Bytes::from_static(b"{}");
            let mut record = Record::new(EventId(Ulid::nil()), device, Kind::Command, body, Timestamp(5));
            record.message = message.map(Bytes::from);
            assert_eq!(expires_at(&record).map_err(drop), expect.map(|at| at.map(Timestamp)), "{message:?}");
        };
        check(Some(r#"{"device_id":"d1","payload":{"expires_at":1},"expires_at":77}"#), Ok(Some(77)));
        check(Some(r#"{"payload":{"expires_at":1},"expires_at":null}"#), Ok(None));
        check(Some(r#"{"payload":{}}"#), Ok(None));
        check(None, Ok(None));
        check(Some(r#"{"payload":{},"expires_at":"soon"}"#), Err(()));
        check(Some("{"), Err(()));
    }
}
