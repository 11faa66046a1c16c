//! The HTTP API.
//!
//! It sees running topologies through their [`DeploymentView`]s and the ports that their stages offer, and knows no
//! connector. Errors are RFC 9457 problem documents that list every problem.

mod alerts;
mod board;
mod choice;
mod devices;
mod follow;
#[cfg(any(test, fuzzing, feature = "testing"))]
pub(crate) mod fuzz;
mod health;
mod metrics;
mod origin;
mod problem;
mod sse;
mod topologies;
mod updates;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::dev::Server;
use actix_web::http::Method;
use actix_web::{App, FromRequest, Handler, HttpServer, Resource, Responder, web};

use crate::clock::Clock;
use crate::runtime::DeploymentView;

pub use board::AlertBoard;
pub use follow::follow_alerts;
pub use metrics::{MetricsPage, install_metrics};
pub use problem::ApiError;

/// The largest body of a command.
const MAX_BODY: usize = 256 << 10;

/// What the API answers from.
#[derive(Clone)]
pub struct ControlState {
    deployments: Arc<Mutex<BTreeMap<Arc<str>, Running>>>,
    metrics: MetricsPage,
    clock: Clock,
}

/// A topology that the API speaks for.
#[derive(Clone)]
struct Running {
    view: DeploymentView,
    board: AlertBoard,
}

impl ControlState {
    /// No topologies yet.
    pub fn new(metrics: MetricsPage, clock: Clock) -> Self {
        ControlState { deployments: Arc::default(), metrics, clock }
    }

    /// The API speaks for this topology from now on.
    pub fn add(&self, view: DeploymentView) {
        let board = AlertBoard::of(&view);
        self.lock().insert(view.name.clone(), Running { view, board });
    }

    /// The API no longer speaks for this topology.
    pub fn remove(&self, name: &str) {
        self.lock().remove(name);
    }

    fn all(&self) -> Vec<Running> {
        self.lock().values().cloned().collect()
    }

    fn get(&self, name: &str) -> Result<Running, ApiError> {
        self.lock().get(name).cloned().ok_or_else(|| does_not_run(name))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Arc<str>, Running>> {
        self.deployments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn does_not_run(topology: &str) -> ApiError {
    ApiError::not_found(format!("topology `{topology}` does not run here"))
}

/// Serves the API until the server is stopped. Gives the address, which the system chooses where the port is 0.
pub fn serve(listen: SocketAddr, state: ControlState) -> std::io::Result<(SocketAddr, Server)> {
    let listener = TcpListener::bind(listen)?;
    let address = listener.local_addr()?;
    let server = HttpServer::new(move || App::new().configure(|config| routes(config, &state)))
        .workers(1)
        .disable_signals()
        .shutdown_timeout(2)
        .listen(listener)?
        .run();
    Ok((address, server))
}

fn routes(config: &mut web::ServiceConfig, state: &ControlState) {
    config
        .app_data(web::Data::new(state.clone()))
        .app_data(web::PayloadConfig::new(MAX_BODY))
        .app_data(web::PathConfig::default().error_handler(|error, _| ApiError::bad_request(error.to_string()).into()))
        .app_data(web::QueryConfig::default().error_handler(|error, _| ApiError::bad_request(error.to_string()).into()))
        .service(only("/livez", Method::GET, health::livez))
        .service(only("/readyz", Method::GET, health::readyz))
        .service(only("/metrics", Method::GET, metrics::page))
        .service(only("/devices", Method::GET, devices::list))
        .service(only("/devices/{device_id}/command", Method::POST, devices::command))
        .service(only("/api/v1/devices", Method::GET, devices::list_long))
        .service(only("/api/v1/devices/{device_id}", Method::GET, devices::show))
        .service(only("/api/v1/devices/{device_id}/updates", Method::GET, updates::follow))
        .service(only("/api/v1/topologies", Method::GET, topologies::list))
        .service(only("/api/v1/topologies/{name}/status", Method::GET, topologies::status))
        .service(only("/api/v1/alerts", Method::GET, alerts::list))
        .service(only("/api/v1/alerts/stream", Method::GET, alerts::stream))
        .default_service(web::to(|| async { Err::<&str, _>(ApiError::not_found("there is nothing at this path")) }));
}

/// The query of a path that takes none: a parameter that is not there is refused everywhere, because a caller who has
/// misspelt one is not to get the answer to another question. Probes and scrapes may say what they like.
type NoQuery = web::Query<NoParameters>;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct NoParameters {}

/// A path that is served by one method; any other is told which.
fn only<F, Args>(path: &str, method: Method, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    let allowed = method.clone();
    let refuse = move || std::future::ready(ApiError::method_not_allowed(&allowed));
    web::resource(path).route(web::method(method).to(handler)).default_service(web::to(refuse))
}
