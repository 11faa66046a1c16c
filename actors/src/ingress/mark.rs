//! A mark on its way to the reader.

use telemill_engine::device_id::DeviceId;
use telemill_engine::record::{EventId, Kind, Record};
use ulid::Ulid;

use super::pulse::Span;

/// A mark that is not handed out yet: it grows as long as nothing comes behind it.
#[derive(Debug)]
pub(crate) struct Mark {
    pub(crate) id: EventId,
    pub(crate) slot: u16,
    pub(crate) slot_session: Ulid,
    pub(crate) span: Span,
}

impl Mark {
    /// The record that the router turns into a mark a partition.
    pub(crate) fn record(self) -> Record {
        let Span { since, time } = self.span;
        let payload = format!(
            r#"{{"slot":{},"slot_session":"{}","since":{},"time":{}}}"#,
            self.slot, self.slot_session, since.0, time.0
        );
        let device = DeviceId::new(b"mark").expect("the word is in the alphabet");
        Record::new(self.id, device, Kind::Mark, payload.into(), time)
    }
}
