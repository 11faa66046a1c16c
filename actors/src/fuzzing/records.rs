//! Records of a log as anybody may have written them, in the frame of the embedded log.

use std::sync::Arc;

use bytes::Bytes;
use telemill_engine::clock::Timestamp;
use telemill_engine::envelope;
use telemill_engine::position::{Position, TopicId};
use uuid::Uuid;

use crate::embedded::log::frame::Frame;
use crate::embedded::log::{Entry, Page, Stored};
use crate::log::cursor::LogCursor;
use crate::log::headers::HeaderWriter;
use crate::log::mark::Mark;
use crate::log::message::{NO_DEVICE, Parts, Taken, is_bare};

/// The offset of the first record of a row.
const FIRST: i64 = 41;

/// A row is refused, or its records are; or what is in them is a record or a dead letter that keeps its bytes; and a record
/// that is written again is the same.
pub(super) fn holds(bytes: &[u8]) {
    texts(bytes);
    let Some(row) = Stored::read(FIRST, Bytes::copy_from_slice(bytes)) else { return };
    let mut offsets = row.offsets.clone();
    for entry in row.entries() {
        let Ok(entry) = entry else { return };
        assert_eq!(Some(entry.offset), offsets.next());
        one(&entry);
    }
    assert!(offsets.is_empty(), "all are there, or the last is none");
}

fn one(entry: &Entry) {
    let Some(read) = entry.frame() else { return };
    let (key, value) = (read.key, read.value.clone());
    let record = match take(entry.at, read).record {
        Ok(record) => record,
        Err(rejected) => {
            assert_eq!(rejected.record.payload, value, "a dead letter has the bytes that came");
            assert!(!rejected.why.detail.is_empty());
            return;
        }
    };
    assert!(record.message.as_ref().is_none_or(|message| *message == value));
    assert!(key.is_none_or(|key| key == record.device.as_str().as_bytes()));
    // What has no message around it has one form for those who stamp it and another for those who do not.
    if is_bare(&record.kind) {
        return;
    }
    let message = envelope::message_of(&record);
    let headers = HeaderWriter::default().record(&record);
    let mut page = Page::new(entry.at);
    page.push(Some(record.device.as_str().as_bytes()), &headers, &message);
    let written = Stored::read(FIRST, page.into_row()).expect("what was written");
    let written = written.entries().next().and_then(Result::ok).expect("it has one record");
    let again = take(written.at, written.frame().expect("what was written"));
    let same = again.record.expect("what was a record");
    assert_eq!((same.id, &same.device, &same.kind), (record.id, &record.device, &record.kind));
    assert_eq!((same.origin, same.sent, &same.traceparent), (record.origin, record.sent, &record.traceparent));
    assert_eq!((&same.payload, same.received_at), (&record.payload, record.received_at));
    assert_eq!(again.time, record.received_at);
}

fn take(at: Timestamp, read: Frame<'_>) -> Taken {
    let position = Position { topic: TopicId(Uuid::from_u128(1)), partition: 3, offset: FIRST, output: 0 };
    let stage: Arc<str> = NO_DEVICE.into();
    Parts {
        topic: "iot-data",
        position,
        timestamp: Some(at.as_millis()),
        key: read.key,
        value: Some(read.value),
        headers: read.headers,
    }
    .take(&stage)
}

/// The texts that stand beside records: marks, and cursors of readers.
fn texts(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(mark) = serde_json::from_str::<Mark>(text) {
        let written = serde_json::to_string(&mark).expect("numbers and texts");
        assert_eq!(serde_json::from_str::<Mark>(&written).ok(), Some(mark));
    }
    if let Ok(cursor) = text.parse::<LogCursor>() {
        assert_eq!(cursor.to_string().parse::<LogCursor>().ok(), Some(cursor));
    }
}
