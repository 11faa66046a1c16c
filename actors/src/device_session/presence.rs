//! On- and offline events (`docs/formats.md`, "Presence events").

use bytes::Bytes;
use telemill_engine::clock::Timestamp;
use telemill_engine::device_id::DeviceId;
use telemill_engine::record::{EventId, Kind, Record};

use super::session::Session;

/// The event of the session's last change.
pub(super) fn event(device: &DeviceId, session: &Session) -> Record {
    let Session { sequence, since: Timestamp(at), .. } = *session;
    let state = if session.is_online() { "online" } else { "offline" };
    // Nothing here needs escaping: a device id has no quote and no backslash.
    let message = format!(r#"{{"v":1,"device_id":"{device}","state":"{state}","at":{at},"sequence":{sequence}}}"#);
    let message = Bytes::from(message);
    let id = EventId::derived(session.since, format!("{device}/{}/{sequence}", session.incarnation()).as_bytes());
    let mut record = Record::new(id, device.clone(), Kind::Presence, message.clone(), session.since);
    record.message = Some(message);
    record
}
