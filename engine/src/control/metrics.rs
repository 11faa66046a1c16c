//! The Prometheus page.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::runtime::TopologyState;

use super::ControlState;

/// Seconds, from a tenth of a millisecond to a minute.
const SECONDS: &[f64] =
    &[0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Records in a batch.
const BATCH: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0];
/// How often what histograms have gathered is folded into their buckets; without it they grow without end.
const UPKEEP: Duration = Duration::from_secs(5);

/// What the page is rendered from.
#[derive(Clone)]
pub struct MetricsPage(PrometheusHandle);

/// Makes Prometheus the process' metrics recorder. Once a process; needs a running runtime for its upkeep.
pub fn install_metrics() -> Result<MetricsPage, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?
        .set_buckets_for_metric(Matcher::Full("telemill_batch_records".to_owned()), BATCH)?
        .install_recorder()?;
    describe();
    let upkeep = handle.clone();
    tokio::task::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            upkeep.run_upkeep();
        }
    });
    Ok(MetricsPage(handle))
}

#[cfg(any(test, fuzzing, feature = "testing"))]
impl MetricsPage {
    /// A page on which nothing is ever written.
    pub(super) fn blank() -> Self {
        MetricsPage(PrometheusBuilder::new().build_recorder().handle())
    }
}

fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_counter!("telemill_records_received_total", "Records taken in by a stage");
    describe_counter!("telemill_records_forwarded_total", "Records handed on or, by a sink, written");
    describe_counter!("telemill_records_absorbed_total", "Records used up by a stage");
    describe_counter!("telemill_records_dead_lettered_total", "Records given to the dead letters");
    describe_counter!("telemill_records_dropped_total", "Records dropped as the topology says");
    describe_counter!("telemill_records_returned_total", "Records given back unresolved");
    describe_gauge!("telemill_records_in_flight", "Records in the hand of a stage");
    describe_counter!("telemill_records_produced_total", "Records that a stage made");
    describe_counter!("telemill_retries_total", "Tries beyond the first");
    describe_counter!("telemill_restarts_total", "Restarts of a stage or of a session");
    describe_gauge!("telemill_stage_time_seconds_total", "Time a stage spent busy, idle or backpressured");
    describe_gauge!("telemill_mailbox_wait_seconds_total", "Time others waited for room in a stage's mailbox");
    describe_gauge!("telemill_mailbox_records", "Records queued in front of a stage");
    describe_gauge!("telemill_mailbox_capacity_records", "Records that fit in front of and in a stage");
    describe_histogram!("telemill_batch_records", "Records in a batch taken in hand");
    describe_histogram!("telemill_stage_duration_seconds", "Time from taking a batch in hand to being done with it");
    describe_histogram!("telemill_end_to_end_seconds", "Age of the oldest record of a batch when it was written");
    describe_gauge!("telemill_sessions_active", "Sessions in memory");
    describe_gauge!("telemill_devices_online", "Devices seen within offline_after");
    describe_gauge!("telemill_alerts", "Alerts pending or firing");
    describe_gauge!("telemill_kafka_lag_records", "Records behind the end of a partition");
    describe_gauge!("telemill_store_bytes", "What the tables of the embedded device store take on disk, by space");
    describe_gauge!("telemill_deploy_last_successful", "Whether the last deploy succeeded");
    describe_gauge!("telemill_build_info", "The version that runs");
}

pub(super) async fn page(state: web::Data<ControlState>) -> HttpResponse {
    metrics::gauge!("telemill_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    for running in state.all() {
        let topology = running.view.name.to_string();
        let directory = &running.view.directory;
        metrics::gauge!("telemill_sessions_active", "topology" => topology.clone())
            .set(directory.session_count() as f64);
        metrics::gauge!("telemill_devices_online", "topology" => topology.clone()).set(directory.online_count() as f64);
        match running.view.state() {
            // Not known yet.
            TopologyState::Starting => {}
            state => {
                let successful = !matches!(state, TopologyState::Failed(_));
                metrics::gauge!("telemill_deploy_last_successful", "topology" => topology.clone())
                    .set(f64::from(u8::from(successful)));
            }
        }
        for ((alertname, state), count) in running.board.counts() {
            let labels = [("topology", topology.clone()), ("alertname", alertname), ("state", state)];
            metrics::gauge!("telemill_alerts", &labels).set(count as f64);
        }
    }
    HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(with_counter_types(&state.metrics.0.render()))
}

/// Sums of seconds are gauges to the metrics facade, whose counters are whole numbers; they are counters all the same.
fn with_counter_types(page: &str) -> String {
    let mut out = String::with_capacity(page.len());
    for line in page.lines() {
        match line.strip_prefix("# TYPE ").and_then(|rest| rest.strip_suffix("_seconds_total gauge")) {
            Some(name) => {
                out.push_str("# TYPE ");
                out.push_str(name);
                out.push_str("_seconds_total counter");
            }
            None => out.push_str(line),
        }
        out.push('\n');
    }
    out
}
