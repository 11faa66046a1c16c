//! How records stand in a log (`docs/formats.md`, "Message" and "Headers"), whichever log it is.

use std::sync::Arc;

use telemill_engine::clock::Clock;
use telemill_engine::record::{Kind, Reason, Record};

use super::headers::{HeaderList, HeaderWriter};
use super::mark::Alive;
use super::message::NO_DEVICE;
use super::route::{Route, value_of};

/// A record as it is to be written.
pub(crate) struct Outgoing<'a, H> {
    /// An index into the sink's topics.
    pub(crate) topic: usize,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: &'a [u8],
    pub(crate) headers: H,
}

/// What is to be written for a record.
pub(crate) enum Written<'a, H> {
    /// This.
    Record(Outgoing<'a, H>),
    /// A mark, to every partition of the marks' topic, behind everything before it.
    Mark(Alive),
    /// Nothing.
    Nothing,
    /// Nothing can be: the record is at fault.
    Unfit(Reason, String),
}

/// How a sink writes its records; `H` is how its log takes headers.
pub(crate) trait Form<H>: Send + 'static {
    /// What is to be written for a record. It may stand in buffers of the form, which serve the next record, too.
    fn write<'a>(&'a mut self, record: &'a Record) -> Written<'a, H>;
}

/// Records of a router.
pub(crate) struct RouterForm {
    route: Route,
    headers: HeaderWriter,
    message: Vec<u8>,
}

impl RouterForm {
    pub(crate) fn new(route: Route) -> Self {
        RouterForm { route, headers: HeaderWriter::default(), message: Vec::new() }
    }
}

impl<H: HeaderList> Form<H> for RouterForm {
    fn write<'a>(&'a mut self, record: &'a Record) -> Written<'a, H> {
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

/// Dead letters: the value is what could not be used, byte for byte; why, where from and when stand in the headers.
pub(crate) struct LetterForm {
    topology: Arc<str>,
    clock: Clock,
    headers: HeaderWriter,
}

impl LetterForm {
    pub(crate) fn new(topology: &Arc<str>, clock: Clock) -> Self {
        LetterForm { topology: topology.clone(), clock, headers: HeaderWriter::default() }
    }
}

impl<H: HeaderList> Form<H> for LetterForm {
    fn write<'a>(&'a mut self, record: &'a Record) -> Written<'a, H> {
        let headers = self.headers.record(record);
        let (headers, keyless) = match &record.dead {
            Some(dead) => {
                let headers = self.headers.dead(headers, &self.topology, dead, self.clock.now());
                (headers, dead.reason == Reason::BAD_DEVICE_ID)
            }
            None => (headers, false),
        };
        let name = record.device.as_str();
        let key = (!keyless && name != NO_DEVICE).then_some(name.as_bytes());
        let value = record.message.as_ref().unwrap_or(&record.payload);
        Written::Record(Outgoing { topic: 0, key, value, headers })
    }
}
