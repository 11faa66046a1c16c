//! What the topologies are doing.

use actix_web::{HttpResponse, web};
use serde_json::json;

use super::{ApiError, ControlState, NoQuery, Running};

/// The topologies that run here.
pub(super) async fn list(state: web::Data<ControlState>, _: NoQuery) -> HttpResponse {
    let topologies: Vec<_> =
        state.all().iter().map(|r| json!({ "name": r.view.name, "status": r.view.state() })).collect();
    HttpResponse::Ok().json(topologies)
}

/// A topology's state, epoch, and every stage's state and ledger.
pub(super) async fn status(
    state: web::Data<ControlState>,
    name: web::Path<String>,
    _: NoQuery,
) -> Result<HttpResponse, ApiError> {
    let Running { view, .. } = state.get(&name)?;
    let directory = &view.directory;
    Ok(HttpResponse::Ok().json(json!({
        "name": view.name,
        "status": view.state(),
        "epoch": view.epoch,
        "sessions_active": directory.session_count(),
        "devices_online": directory.online_count(),
        "stages": view.report(),
    })))
}
