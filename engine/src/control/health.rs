//! Whether the process lives, and whether it does its work.

use actix_web::{HttpResponse, web};
use serde_json::json;

use crate::runtime::{StageState, TopologyState};

use super::ControlState;

/// 200 for as long as the process answers at all.
pub(super) async fn livez() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain").body("ok\n")
}

/// 200 when every topology and every stage runs and everything they talk to is there; else 503 with the reasons.
pub(super) async fn readyz(state: web::Data<ControlState>) -> HttpResponse {
    let mut reasons = Vec::new();
    let running = state.all();
    for deployment in &running {
        let name = &deployment.view.name;
        match deployment.view.state() {
            TopologyState::Running => {}
            TopologyState::Failed(why) => reasons.push(json!({ "topology": name, "state": "failed", "why": why })),
            other => reasons.push(json!({ "topology": name, "state": other })),
        }
        if let Some(why) = deployment.view.peers.waits_for() {
            let state = StageState::Waiting(why);
            reasons.push(json!({ "topology": name, "state": state }));
        }
        for stage in deployment.view.report() {
            if !stage.state.is_running() {
                reasons.push(json!({ "topology": name, "stage": stage.name, "state": stage.state }));
            }
        }
    }
    if running.is_empty() {
        reasons.push(json!({ "state": "no topology is deployed yet" }));
    }
    match reasons.is_empty() {
        true => HttpResponse::Ok().json(json!({ "ready": true })),
        false => HttpResponse::ServiceUnavailable().json(json!({ "ready": false, "reasons": reasons })),
    }
}
