//! The headers of a record as the client library takes and gives them.

use rdkafka::message::{BorrowedMessage, Header, OwnedHeaders};

use super::raw_headers;
use crate::log::headers::{HeaderList, MessageHeaders};

impl HeaderList for OwnedHeaders {
    fn with_room(count: usize) -> Self {
        OwnedHeaders::new_with_capacity(count)
    }

    fn with(self, name: &str, value: &[u8]) -> Self {
        self.insert(Header { key: name, value: Some(value) })
    }
}

/// The headers of a message.
pub(crate) fn headers_of<'a>(message: &'a BorrowedMessage<'_>) -> MessageHeaders<'a> {
    let mut headers = MessageHeaders::default();
    raw_headers::for_each(message, |name, value| headers.set(name, value));
    headers
}
