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
    describe_gauge!("telemill_sessions_passivated", "Sessions that have left memory and can come back");
    describe_counter!("telemill_devices_forgotten_total", "Devices whose session was dropped for good");
    describe_gauge!("telemill_devices_online", "Devices seen within offline_after");
    describe_gauge!("telemill_alerts", "Alerts pending or firing");
    describe_gauge!("telemill_kafka_lag_records", "Records behind the end of a partition");
    describe_counter!(
        "telemill_store_history_cut_total",
        "Messages that left the embedded device store's history because it took more than `history_size`"
    );
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
        metrics::gauge!("telemill_sessions_passivated", "topology" => topology.clone())
            .set(directory.passivated_count() as f64);
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

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Bytes of this process in memory.
    fn resident() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells it");
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.parse::<usize>().ok()).expect("a number of kB") * 1024
    }

    #[test]
    fn what_histograms_gather_does_not_stay_when_nobody_looks() {
        let mut child = Command::new(std::env::current_exe().expect("a running program has a path"));
        child.args(["--exact", "control::metrics::tests::nobody_looks", "--ignored", "--nocapture"]);
        let output = child.output().expect("this program can be started once more");
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }

    #[tokio::test(start_paused = true)]
    #[ignore = "run by `what_histograms_gather_does_not_stay_when_nobody_looks`: the recorder and the memory are the process's"]
    async fn nobody_looks() {
        const ROUND: usize = 100_000;
        install_metrics().expect("the only recorder");
        let histogram = metrics::histogram!("telemill_end_to_end_seconds");
        let before = resident();
        for _ in 0..40 {
            (0..ROUND).for_each(|sample| histogram.record(sample as f64));
            tokio::time::sleep(UPKEEP * 2).await;
        }
        let grown = resident().saturating_sub(before);
        // All samples as they come are some 24 bytes each, 96 MB.
        assert!(grown < 32 << 20, "{grown} bytes more after 4,000,000 samples");
    }
}
