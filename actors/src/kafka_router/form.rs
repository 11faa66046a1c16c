//! How a record stands in the log.

use std::sync::Arc;

use telemill_engine::envelope;
use telemill_engine::record::{Kind, Reason, Record};

use crate::kafka::headers::HeaderWriter;
use crate::kafka::producer::Outgoing;
use crate::kafka::submit::{Form, Written};
use crate::kafka::wire::is_bare;

/// Which topic a record goes to, as an index into the router's topics.
#[derive(Clone, Debug)]
pub(super) enum Route {
    /// All to the only one.
    Single,
    /// By kind; few enough to look through.
    ByKind(Arc<[(Kind, usize)]>),
}

impl Route {
    fn of(&self, kind: &Kind) -> Option<usize> {
        match self {
            Route::Single => Some(0),
            Route::ByKind(routes) => routes.iter().find(|(k, _)| k == kind).map(|(_, topic)| *topic),
        }
    }
}

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
        let value: &[u8] = match &record.message {
            Some(message) => message,
            None if is_bare(&record.kind) => &record.payload,
            None => {
                // The ingress has decided that a payload without bytes stands for none.
                let payload: &[u8] = if record.payload.is_empty() { b"null" } else { &record.payload };
                self.message.clear();
                envelope::write(&mut self.message, &record.device, payload, record.received_at, record.id);
                &self.message
            }
        };
        let headers = self.headers.record(record);
        Written::Record(Outgoing { topic, key: Some(record.device.as_str().as_bytes()), value, headers })
    }
}
