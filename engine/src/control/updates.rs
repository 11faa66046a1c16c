//! The stream of a device's updates: each message as it is written to the store.
//!
//! A client that comes back with the `Last-Event-ID` it saw is first given what the history has behind it. One that is
//! too slow is told how many messages it missed, in an event `missed` that has no id; coming back closes the hole.

use std::collections::HashSet;

use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use serde::Deserialize;

use super::choice::ask;
use super::devices::{MAX_HISTORY, parse};
use super::sse::{self, Event};
use super::{ApiError, ControlState, does_not_run};
use crate::device_id::DeviceId;
use crate::envelope;
use crate::ports::{DeviceStore, PortError, Update};
use crate::record::EventId;

/// Which store is followed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UpdatesQuery {
    /// That of this topology.
    topology: Option<String>,
}

/// Server-sent events: every message of the device behind `Last-Event-ID`, or from now on.
pub(super) async fn follow(
    state: web::Data<ControlState>,
    device: web::Path<String>,
    query: web::Query<UpdatesQuery>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let device = parse(&device)?;
    let unfit = |text| ApiError::bad_request(format!("Last-Event-ID `{text}` is not the id of an update"));
    let last = sse::last_event_id(&request)?;
    let last = last.map(|text| text.parse::<EventId>().map_err(|_| unfit(text))).transpose()?;
    let running = state.all();
    let stores: Vec<_> = running.iter().map(|r| (&*r.view.name, r.view.ports.device_store())).collect();
    let store = choose(&stores, query.topology.as_deref())?;
    let events = events(&*store, &device, last).await;
    Ok(sse::response(events.map_err(|error| ApiError::unavailable(error.to_string()))?))
}

/// The store that is named by its topology, or the only one there is: nothing is guessed.
fn choose<S: Clone>(stores: &[(&str, Option<S>)], named: Option<&str>) -> Result<S, ApiError> {
    if let Some(name) = named {
        let known = stores.iter().find(|(topology, _)| *topology == name);
        let (_, store) = known.ok_or_else(|| does_not_run(name))?;
        let none = || ApiError::not_offered(format!("topology `{name}` keeps no devices in a store"));
        return store.clone().ok_or_else(none);
    }
    let offered: Vec<_> = stores.iter().filter_map(|(name, store)| Some((*name, store.as_ref()?))).collect();
    match offered.as_slice() {
        [] => Err(ApiError::not_offered("no topology here keeps devices in a store")),
        [(_, store)] => Ok((*store).clone()),
        several => Err(ApiError::bad_request(ask(several.iter().map(|(name, _)| *name), "keep devices in a store"))),
    }
}

/// What the history has behind `last`, then every update from now on.
async fn events(
    store: &dyn DeviceStore,
    device: &DeviceId,
    last: Option<EventId>,
) -> Result<BoxStream<'static, Result<Event, PortError>>, PortError> {
    // Subscribed before the history is read, so that nothing falls between the two.
    let updates = store.updates(device).await?;
    let missed = match last {
        Some(last) => behind(store, device, last).await?,
        None => Vec::new(),
    };
    let mut repeated: HashSet<Bytes> = missed.iter().cloned().collect();
    let live = updates.filter(move |update| {
        let is_new = match update {
            Ok(Update::Written(message)) => !repeated.remove(message),
            _ => true,
        };
        // What is in both comes first; behind it, the same message again is another update.
        if is_new && matches!(update, Ok(Update::Written(_))) {
            repeated.clear();
        }
        std::future::ready(is_new)
    });
    let missed = stream::iter(missed).map(|message| Ok(Update::Written(message)));
    Ok(missed.chain(live).map(|update| update.map(event)).boxed())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::ports::{LastState, Updates};
    use async_trait::async_trait;
    use ulid::Ulid;

    /// A history, and updates that come while it is read.
    struct Store {
        history: Vec<Bytes>,
        updates: Vec<Update>,
    }

    #[async_trait]
    impl DeviceStore for Store {
        async fn last_state(&self, _: &DeviceId) -> Result<Option<LastState>, PortError> {
            Ok(None)
        }

        async fn history(&self, _: &DeviceId, _: u64, _: u64, limit: usize) -> Result<Vec<Bytes>, PortError> {
            Ok(self.history[self.history.len().saturating_sub(limit)..].to_vec())
        }

        async fn updates(&self, _: &DeviceId) -> Result<Updates, PortError> {
            let lost = Err(PortError("the store is gone".to_owned()));
            Ok(stream::iter(self.updates.clone()).map(Ok).chain(stream::iter([lost])).boxed())
        }
    }

    #[test]
    fn a_store_is_named_or_the_only_one() {
        let check = |stores: &[(&str, Option<u8>)], named: Option<&str>, expect: Result<u8, &str>| {
            let chosen = choose(stores, named).map_err(|error| error.to_string());
            match (&chosen, expect) {
                (Ok(store), Ok(wanted)) => assert_eq!(*store, wanted),
                (Err(error), Err(wanted)) => assert!(error.contains(wanted), "{error}"),
                _ => panic!("{chosen:?}, not {expect:?}"),
            }
        };
        check(&[], None, Err("not offered"));
        check(&[("a", None)], None, Err("not offered"));
        check(&[("a", None), ("b", Some(2))], None, Ok(2));
        check(&[("a", Some(1)), ("b", Some(2))], None, Err("say which: ?topology=a, ?topology=b"));
        check(&[("a", Some(1)), ("b", Some(2))], Some("b"), Ok(2));
        check(&[("a", None), ("b", Some(2))], Some("a"), Err("topology `a` keeps no devices"));
        check(&[("b", Some(2))], Some("a"), Err("topology `a` does not run here"));
    }

    fn id(n: u128) -> EventId {
        EventId(Ulid::from_parts(1, n))
    }

    fn message(n: u128) -> Bytes {
        let mut message = Vec::new();
        envelope::write(&mut message, &"d".parse().unwrap(), b"1", Timestamp(1), id(n));
        message.into()
    }

    #[tokio::test]
    async fn a_client_that_comes_back_hears_everything_once() {
        let store = Store {
            history: [1, 2, 5, 4, 6].map(message).to_vec(),
            updates: vec![
                Update::Written(message(4)),
                Update::Written(message(6)),
                Update::Written(message(7)),
                Update::Written(message(6)),
                Update::Missed(3),
            ],
        };
        let check = async |last: Option<EventId>, expect: &[u128]| {
            let device = "d".parse().unwrap();
            let mut events: Vec<_> = events(&store, &device, last).await.unwrap().collect().await;
            let lost = events.pop().unwrap().err().map(|error| error.to_string());
            assert_eq!(lost.as_deref(), Some("the store is gone"), "it ends as broken");
            let missed = events.pop().unwrap().unwrap();
            assert_eq!((missed.id, missed.name, &missed.data[..]), (None, "missed", &br#"{"missed":3}"#[..]));
            let heard: Vec<_> = events.into_iter().map(Result::unwrap).collect();
            assert!(heard.iter().all(|event| event.name == "update"));
            let expect_ids: Vec<_> = expect.iter().map(|n| Some(id(*n).to_string())).collect();
            assert_eq!(heard.iter().map(|event| event.id.clone()).collect::<Vec<_>>(), expect_ids, "{last:?}");
            assert!(heard.iter().zip(expect).all(|(event, n)| event.data == message(*n)));
        };
        check(None, &[4, 6, 7, 6]).await;
        // By its place, not by its name.
        check(Some(id(5)), &[4, 6, 7, 6]).await;
        check(Some(id(1)), &[2, 5, 4, 6, 7, 6]).await;
        check(Some(id(6)), &[4, 6, 7, 6]).await;
        // No longer there: what is newer by its name.
        check(Some(id(3)), &[5, 4, 6, 7, 6]).await;
    }
}
