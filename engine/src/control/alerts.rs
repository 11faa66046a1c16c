//! Alerts: those that are active, and the stream of transitions.

use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::StreamExt;
use serde::Deserialize;

use super::choice::alert_log;
use super::sse::{self, Event};
use super::{ApiError, ControlState};
use crate::ports::FollowError;

/// Whose alerts are wanted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// Those of this topology.
    topology: Option<String>,
}

/// Which alert log is followed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
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
    let after = sse::last_event_id(&request)?;
    let log = alert_log(&state.all(), query.topology.as_deref(), query.stage.as_deref())?;
    let entries = log.follow(after.as_deref()).await.map_err(|error| match error {
        FollowError::BadCursor(why) => ApiError::bad_request(format!("Last-Event-ID: {why}")),
        FollowError::Port(error) => ApiError::unavailable(error.to_string()),
    })?;
    let event = |entry: crate::ports::AlertEntry| Event { id: Some(entry.cursor), name: "alert", data: entry.body };
    Ok(sse::response(entries.map(move |entry| entry.map(event)).boxed()))
}
