//! Server-sent events: one form for every stream of the API.
//!
//! The first bytes leave at once, so that a client knows that it is subscribed, and a comment is sent when nothing else
//! was for a while, so that proxies and clients see that the stream lives. A source that fails ends the response as
//! broken, not as complete: the client connects again.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};

use super::ApiError;
use crate::ports::PortError;

/// How long a stream is silent before a comment is sent.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// One event.
pub(super) struct Event {
    /// What a client that comes back says it has seen last, if this can be gone on from.
    pub(super) id: Option<String>,
    /// What sort of event it is.
    pub(super) name: &'static str,
    /// Text, of one or more lines.
    pub(super) data: Bytes,
}

/// The `Last-Event-ID` of a client that comes back.
pub(super) fn last_event_id(request: &HttpRequest) -> Result<Option<String>, ApiError> {
    let last = request.headers().get("last-event-id").map(|id| id.to_str().map(str::to_owned));
    last.transpose().map_err(|_| ApiError::bad_request("Last-Event-ID is not text"))
}

/// A response that lasts as long as the events do.
pub(super) fn response(events: BoxStream<'static, Result<Event, PortError>>) -> HttpResponse {
    let body = stream::unfold(Some(events), |events| async {
        let mut events = events?;
        match tokio::time::timeout(KEEP_ALIVE, events.next()).await {
            Err(_) => Some((Ok(Bytes::from_static(b": alive\n\n")), Some(events))),
            Ok(Some(Ok(event))) => Some((Ok(written(&event)), Some(events))),
            Ok(Some(Err(error))) => Some((Err(std::io::Error::other(error.to_string())), None)),
            Ok(None) => None,
        }
    });
    let hello = stream::once(async { Ok(Bytes::from_static(b": subscribed\n\n")) });
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header(("cache-control", "no-store"))
        .streaming(hello.chain(body))
}

fn written(event: &Event) -> Bytes {
    let mut text = String::with_capacity(event.data.len() + 64);
    if let Some(id) = &event.id {
        text.push_str("id: ");
        text.push_str(id);
        text.push('\n');
    }
    text.push_str("event: ");
    text.push_str(event.name);
    // A line end inside the data would be one of the event's: each line has a field of its own.
    for line in String::from_utf8_lossy(&event.data).split(['\n', '\r']) {
        text.push_str("\ndata: ");
        text.push_str(line);
    }
    text.push_str("\n\n");
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_written_line_by_line() {
        let check = |id: Option<&str>, data: &'static str, expect: &str| {
            let event = Event { id: id.map(str::to_owned), name: "update", data: Bytes::from_static(data.as_bytes()) };
            assert_eq!(written(&event), expect);
        };
        check(Some("7"), r#"{"a":1}"#, "id: 7\nevent: update\ndata: {\"a\":1}\n\n");
        check(None, "{\n}\r\n", "event: update\ndata: {\ndata: }\ndata: \ndata: \n\n");
    }
}
