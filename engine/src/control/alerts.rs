//! Alerts: those that are active, and the stream of transitions.

use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::StreamExt;

use super::sse::{self, Event};
use super::{ApiError, ControlState};

/// The alerts that are pending or firing.
pub(super) async fn list(state: web::Data<ControlState>) -> HttpResponse {
    let alerts: Vec<_> = state.all().iter().flat_map(|running| running.board.list()).collect();
    HttpResponse::Ok().json(alerts)
}

/// Server-sent events: every transition behind `Last-Event-ID`, or from now on.
pub(super) async fn stream(state: web::Data<ControlState>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let after = sse::last_event_id(&request)?;
    let log = state.all().into_iter().find_map(|running| running.view.ports.alert_log());
    let log = log.ok_or_else(|| ApiError::not_offered("no topology here keeps an alert log"))?;
    let entries = log.follow(after.as_deref()).await.map_err(|error| ApiError::unavailable(error.to_string()))?;
    let event = |entry: crate::ports::AlertEntry| Event { id: Some(entry.cursor), name: "alert", data: entry.body };
    Ok(sse::response(entries.map(move |entry| entry.map(event)).boxed()))
}
