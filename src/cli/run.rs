//! `telemill run`

mod rates;
mod view;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use indicatif::ProgressBar;
use telemill_actors::embedded::EmbeddedConnection;
use telemill_engine::checkpoint::Owner;
use telemill_engine::clock::Clock;
use telemill_engine::control::{ControlState, install_metrics, serve};
use telemill_engine::runtime::{Deployment, DeploymentView, Ended, Environment, Placement, TopologyState, begin};
use telemill_engine::topology::{Plan, Problems};
use tokio::sync::watch;

use self::view::View;
use super::signals::StopSignals;
use super::simulate::Demo;
use super::{BAD_INPUT, BadInput, DONE, FAILED, Output, files};

/// How long the simulated fleets may take to end.
const FLEETS_END_WITHIN: Duration = Duration::from_secs(3);

/// Run topologies until told to stop.
///
/// SIGTERM and Ctrl-C drain: sources stop, what is in flight is finished, checkpoints and offsets are written. A second
/// signal stops at once. Exit 0 when everything was drained, 1 when a topology failed or the deadline passed, 2 when a
/// file has problems.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  telemill run topologies/iot-ingestion.yaml\n  telemill run a.yaml b.yaml --listen 127.0.0.1:7500"
)]
pub struct Run {
    /// Topology files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Where the HTTP API listens. Only loopback addresses: it has no authentication yet.
    #[arg(long, env = "TELEMILL_LISTEN", default_value = "127.0.0.1:7400")]
    listen: SocketAddr,
}

impl Run {
    /// Runs until a signal, the end of all sources, or a failure.
    pub fn run(self) -> anyhow::Result<u8> {
        if !self.listen.ip().is_loopback() {
            let why = "is not a loopback address; the API has no authentication yet, put a proxy in front";
            return Err(BadInput(format!("--listen {} {why}", self.listen)).into());
        }
        let Some(plans) = files::plans(&self.files, &files::registry(), Output::Text)? else { return Ok(BAD_INPUT) };
        let mut names = HashSet::new();
        if let Some(twice) = plans.iter().find(|plan| !names.insert(&*plan.name)) {
            return Err(BadInput(format!("two of the files have a topology `{}`; each runs once", twice.name)).into());
        }
        let bar = view::bar();
        crate::logging::init(bar.clone());
        actix::System::new().block_on(self.serve(plans, bar))
    }

    async fn serve(&self, plans: Vec<Plan>, bar: Option<ProgressBar>) -> anyhow::Result<u8> {
        let clock = Clock::system();
        let metrics = install_metrics().context("cannot set up metrics")?;
        let state = ControlState::new(metrics, clock.clone());
        let (address, server) = serve(self.listen, state.clone())
            .with_context(|| format!("cannot listen on {}; `--listen` names another address", self.listen))?;
        let control = server.handle();
        actix::spawn(server);
        tracing::info!(code = "listening", %address, "the HTTP API listens");
        let mut stop = StopSignals::new().context("cannot listen for signals")?;
        let view = View::new(address, bar);
        let (fleets_stop, _) = watch::channel(false);
        let mut fleets = Fleets { view: view.clone(), stop: fleets_stop, running: Vec::new() };
        let mut deployments = Vec::new();
        for plan in plans {
            let name = plan.name.clone();
            let demo = Demo::check(&plan, &mut Problems::new());
            let local = plan.connections.all();
            let environment =
                Environment { clock: clock.clone(), placement: Placement::one_per_core(), owner: owner() };
            let begun = tokio::select! {
                begun = begin(plan, environment) => begun,
                () = stop.wait() => break,
            };
            match begun {
                Ok(deployment) => {
                    state.add(deployment.view());
                    fleets.begin(deployment.view(), demo, local);
                    tracing::info!(code = "deploying", topology = %name, "the topology starts");
                    deployments.push(deployment);
                }
                Err(error) => {
                    tracing::error!(code = "deploy_failed", topology = %name, %error, "the topology cannot start");
                    drain(deployments, &state).await;
                    control.stop(true).await;
                    return Ok(FAILED);
                }
            }
        }
        let failed = tokio::select! {
            failed = first_end(&deployments) => failed,
            () = stop.wait() => false,
        };
        fleets.end().await;
        view.clear();
        tracing::info!(code = "draining", "sources stop; what is in flight is finished");
        let drained = tokio::select! {
            drained = drain(deployments, &state) => drained,
            () = stop.wait() => {
                tracing::warn!(code = "stopped_at_once", "second signal: stopping at once; what is not acknowledged is read again");
                false
            }
        };
        control.stop(false).await;
        Ok(if failed || !drained { FAILED } else { DONE })
    }
}

/// The simulated fleets that the topologies bring along.
struct Fleets {
    view: View,
    stop: watch::Sender<bool>,
    running: Vec<tokio::task::JoinHandle<()>>,
}

impl Fleets {
    /// Once the topology runs: shows it, and lets its fleet publish.
    fn begin(&mut self, deployment: DeploymentView, demo: Option<Demo>, local: Vec<Arc<EmbeddedConnection>>) {
        let (view, stop, mut stopped) = (self.view.clone(), self.stop.subscribe(), self.stop.subscribe());
        self.running.push(actix::spawn(async move {
            let started = tokio::select! {
                started = deployment.started() => started.is_ok() && !deployment.state().is_over(),
                _ = stopped.wait_for(|stop| *stop) => false,
            };
            if started {
                view.follow(&deployment, demo.as_ref().map(Demo::devices), local);
                if let Some(demo) = demo {
                    demo.run(stop).await;
                }
            }
        }));
    }

    /// Ends the fleets before the ingresses that they publish to. One whose ingress is gone already cannot be waited for.
    async fn end(self) {
        self.stop.send_replace(true);
        let ends = futures_util::future::join_all(self.running);
        if tokio::time::timeout(FLEETS_END_WITHIN, ends).await.is_err() {
            tracing::warn!(
                code = "simulated_fleet",
                "a simulated fleet did not end in time; what it published and did not hear of may be there"
            );
        }
    }
}

/// Waits until a topology has failed (true) or all have come to their end (false).
async fn first_end(deployments: &[Deployment]) -> bool {
    let mut ends: Vec<_> = deployments.iter().map(|d| Box::pin(announce(d))).collect();
    while !ends.is_empty() {
        let (state, _, rest) = futures_util::future::select_all(ends).await;
        if matches!(state, TopologyState::Failed(_)) {
            return true;
        }
        ends = rest;
    }
    false
}

async fn announce(deployment: &Deployment) -> TopologyState {
    if deployment.started().await.is_ok() {
        tracing::info!(code = "running", topology = %deployment.view().name, "every stage runs");
    }
    deployment.ended().await
}

/// Drains all; whether all of them came to their end in time and none had failed.
async fn drain(deployments: Vec<Deployment>, state: &ControlState) -> bool {
    let drains = deployments.into_iter().map(|deployment| async {
        let name = deployment.view().name;
        let threads = deployment.threads();
        let ended = deployment.drain().await;
        match &ended {
            Ended::Drained => tracing::info!(code = "drained", topology = %name, "everything received is resolved"),
            Ended::DeadlinePassed => {
                tracing::error!(code = "drain_deadline", topology = %name, "the deadline passed; what is not acknowledged is read again");
            }
            Ended::Failed(why) => tracing::error!(code = "failed", topology = %name, why, "the topology had failed"),
        }
        state.remove(&name);
        if let Ok(threads) = Arc::try_unwrap(threads) {
            threads.shut_down();
        }
        ended == Ended::Drained
    });
    futures_util::future::join_all(drains).await.into_iter().all(|drained| drained)
}

fn owner() -> Owner {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
    Owner { instance: ulid::Ulid::generate(), host, pid: std::process::id() }
}
