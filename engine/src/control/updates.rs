//! The stream of a device's updates: each message as it is written to the store.
//!
//! A client that comes back with the `Last-Event-ID` it saw is first given what the history has behind it. One that is
//! too slow is told how many messages it missed, in an event `missed` that has no id; coming back closes the hole.

use std::collections::HashSet;

use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::devices::{MAX_HISTORY, parse};
use super::sse::{self, Event};
use super::{ApiError, ControlState};
use crate::device_id::DeviceId;
use crate::envelope;
use crate::ports::{DeviceStore, PortError, Update};
use crate::record::EventId;

/// Server-sent events: every message of the device behind `Last-Event-ID`, or from now on.
pub(super) async fn follow(
    state: web::Data<ControlState>,
    device: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let device = parse(&device)?;
    let unfit = |text| ApiError::bad_request(format!("Last-Event-ID `{text}` is not the id of an update"));
    let last = sse::last_event_id(&request)?;
    let last = last.map(|text| text.parse::<EventId>().map_err(|_| unfit(text))).transpose()?;
    let store = state.all().into_iter().find_map(|running| running.view.ports.device_store());
    let store = store.ok_or_else(|| ApiError::not_offered("no topology here keeps devices in a store"))?;
    let unavailable = |error: PortError| ApiError::unavailable(error.to_string());
    // Subscribed before the history is read, so that nothing falls between the two.
    let updates = store.updates(&device).await.map_err(unavailable)?;
    let missed = match last {
        Some(last) => behind(&*store, &device, last).await.map_err(unavailable)?,
        None => Vec::new(),
    };
    let mut repeated: HashSet<Bytes> = missed.iter().cloned().collect();
    let live = updates.filter(move |update| {
        // What is in both comes first; behind it, the same message again is another update.
        let is_new = match update {
            Ok(Update::Written(message)) => !repeated.remove(message),
            _ => true,
        };
        if is_new && matches!(update, Ok(Update::Written(_))) {
            repeated.clear();
        }
        std::future::ready(is_new)
    });
    let missed = stream::iter(missed).map(|message| Ok(Update::Written(message)));
    Ok(sse::response(missed.chain(live).map(|update| update.map(event)).boxed()))
}

/// What the history has behind the message that a client saw last: behind its place, or, where it is gone, what is newer.
async fn behind(store: &dyn DeviceStore, device: &DeviceId, last: EventId) -> Result<Vec<Bytes>, PortError> {
    let mut messages = store.history(device, 0, u64::MAX, MAX_HISTORY).await?;
    match messages.iter().rposition(|message| event_id(message) == Some(last)) {
        Some(at) => drop(messages.drain(..=at)),
        None => messages.retain(|message| event_id(message).is_some_and(|id| id > last)),
    }
    Ok(messages)
}

fn event(update: Update) -> Event {
    match update {
        Update::Written(message) => {
            let id = event_id(&message).map(|id| id.to_string());
            Event { id, name: "update", data: message }
        }
        Update::Missed(count) => Event { id: None, name: "missed", data: format!("{{\"missed\":{count}}}").into() },
    }
}

fn event_id(message: &Bytes) -> Option<EventId> {
    envelope::read(message, true).ok().and_then(|envelope| envelope.event_id)
}
