//! Noting what is safe, in the group's name, and how far behind it is.

use std::sync::Arc;
use std::time::Duration;

use telemill_engine::faults;
use telemill_engine::position::Partition;

use super::shared::Shared;
use crate::embedded::log::{LogError, commit};

const COMMIT_EVERY: Duration = Duration::from_millis(500);

/// Commits what is safe for as long as the source lives.
pub(super) async fn keep(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(COMMIT_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut well = true;
    loop {
        ticks.tick().await;
        let committed = all(&shared).await;
        match committed {
            Ok(()) => well = true,
            // What is safe stays to be committed. It is said once.
            Err(error) if well => {
                let stage = &*shared.reading.stage;
                tracing::warn!(code = "commit_failed", stage, %error, "offsets are not committed");
                well = false;
            }
            Err(_) => {}
        }
        lag(&shared);
    }
}

/// Commits what is safe and not committed.
pub(super) async fn all(shared: &Arc<Shared>) -> Result<(), LogError> {
    let commits = shared.state().ledger.to_commit(None, false);
    if commits.is_empty() {
        return Ok(());
    }
    let (noted, group, topics) = (commits.clone(), shared.group.clone(), shared.topics.clone());
    let written = shared.log.disk().write(move |tx| {
        for to_note in &noted {
            for (topic, offset) in topics.iter().zip(&to_note.offsets) {
                commit(tx, &group, topic, to_note.partition, *offset);
            }
        }
        Ok::<_, LogError>(())
    });
    written.await?;
    faults::point("embedded_source.committed");
    shared.state().ledger.committed(commits);
    Ok(())
}

fn lag(shared: &Shared) {
    let state = shared.state();
    let partitions = shared.topics.first().map_or(0, |topic| topic.partitions());
    for partition in 0..partitions {
        let Some(done) = state.ledger.done(partition) else { continue };
        for (topic, done) in shared.topics.iter().zip(done) {
            gauge(shared, &topic.name, partition, topic.bounds(partition).1 - done);
        }
    }
}

fn gauge(shared: &Shared, topic: &str, partition: Partition, records: i64) {
    metrics::gauge!(
        "telemill_kafka_lag_records",
        "topology" => shared.reading.topology.to_string(),
        "stage" => shared.reading.stage.to_string(),
        "topic" => topic.to_owned(),
        "partition" => partition.to_string(),
    )
    .set(records.max(0) as f64);
}
