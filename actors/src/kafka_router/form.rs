//! How a record stands in the log.

use telemill_engine::record::{Kind, Reason, Record};

use crate::kafka::producer::Outgoing;
use crate::kafka::submit::{Form, Written};
use crate::log::headers::HeaderWriter;
use crate::log::route::{Route, value_of};

/// Writes records as `docs/formats.md` says. Its buffers serve every record, since the client copies what it is given.
pub(super) struct RouterForm {
    route: Route,
    headers: HeaderWriter,
    message: Vec<u8>,
}

impl RouterForm {
    pub(super) fn new(route: Route) -> Self {
        RouterForm { route, headers: HeaderWriter::default(), message: Vec::new() }
    }
}

impl Form for RouterForm {
    fn write<'a>(&'a mut self, record: &'a Record) -> Written<'a> {
        if record.dead.is_some() {
            return Written::Nothing;
        }
        if record.kind == Kind::Mark {
            return match serde_json::from_slice(&record.payload) {
                Ok(alive) => Written::Mark(alive),
                Err(error) => Written::Unfit(Reason::BAD_ENVELOPE, format!("not a mark: {error}")),
            };
        }
        let Some(topic) = self.route.of(&record.kind) else {
            return Written::Unfit(Reason("no_route"), format!("there is no route for kind `{}`", record.kind));
        };
        let value = value_of(record, &mut self.message);
        let headers = self.headers.record(record);
        Written::Record(Outgoing { topic, key: Some(record.device.as_str().as_bytes()), value, headers })
    }
}
