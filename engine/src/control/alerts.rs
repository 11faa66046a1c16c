//! Alerts: those that are active, and the stream of transitions.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde::Deserialize;

use super::choice::alert_log;
use super::{ApiError, ControlState};

/// A comment is sent when nothing else was for this long, so that proxies and clients see that the stream lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Whose alerts are wanted.
#[derive(Deserialize)]
pub(super) struct ListQuery {
    /// Those of this topology.
    topology: Option<String>,
}

/// Which alert log is followed.
#[derive(Deserialize)]
pub(super) struct StreamQuery {
    /// One of this topology.
    topology: Option<String>,
    /// The one that this stage keeps.
    stage: Option<String>,
}

/// The alerts that are pending or firing: of all topologies, or of one.
pub(super) async fn list(
    state: web::Data<ControlState>,
    query: web::Query<ListQuery>,
) -> Result<HttpResponse, ApiError> {
    let running = match &query.topology {
        None => state.all(),
        Some(name) => vec![state.get(name)?],
    };
    let alerts: Vec<_> = running.iter().flat_map(|running| running.board.list()).collect();
    Ok(HttpResponse::Ok().json(alerts))
}

/// Server-sent events: every transition behind `Last-Event-ID`, or from now on. A cursor belongs to one alert log.
pub(super) async fn stream(
    state: web::Data<ControlState>,
    query: web::Query<StreamQuery>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let after = request.headers().get("last-event-id").map(|id| id.to_str().map(str::to_owned));
    let after = after.transpose().map_err(|_| ApiError::bad_request("Last-Event-ID is not text"))?;
    let log = alert_log(&state.all(), query.topology.as_deref(), query.stage.as_deref())?;
    let entries = log.follow(after.as_deref()).await.map_err(|error| ApiError::unavailable(error.to_string()))?;
    let events = stream::unfold(Some(entries), |entries| async {
        let mut entries = entries?;
        match tokio::time::timeout(KEEP_ALIVE, entries.next()).await {
            Err(_) => Some((Ok(Bytes::from_static(b": alive\n\n")), Some(entries))),
            Ok(Some(Ok(entry))) => {
                let body = String::from_utf8_lossy(&entry.body);
                Some((Ok(Bytes::from(format!("id: {}\nevent: alert\ndata: {body}\n\n", entry.cursor))), Some(entries)))
            }
            Ok(Some(Err(error))) => Some((Err(std::io::Error::other(error.to_string())), None)),
            Ok(None) => None,
        }
    });
    // The first bytes leave at once, so that a client knows that it is subscribed.
    let hello = stream::once(async { Ok(Bytes::from_static(b": subscribed\n\n")) });
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header(("cache-control", "no-store"))
        .streaming(hello.chain(events)))
}
