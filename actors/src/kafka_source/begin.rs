//! Where partitions begin: the engine's answer, the group's commits and what the log retains, put together.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use telemill_engine::position::Partition;
use telemill_engine::source::ResumeAt;
use thiserror::Error;

use super::cluster::{self, Committed, IdentityError};
use super::group::Member;
use super::ledger::Generation;
use super::resume::{self, Retained, Start};
use super::setup::{Setup, Topic};
use super::shared::{Plan, Shared};

/// A partition whose beginning the engine has said.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) partition: Partition,
    pub(super) generation: Generation,
    pub(super) resume_at: ResumeAt,
}

/// Why it is not known where to begin.
#[derive(Debug, Error)]
pub(super) enum BeginError {
    /// The cluster does not answer now.
    #[error("{0}")]
    Unavailable(#[from] KafkaError),
    /// There is no good place to begin.
    #[error("{0}")]
    Broken(String),
}

/// What to read of these partitions. Blocks.
pub(super) fn plans(member: &Member, shared: &Shared, ready: &[Ready]) -> Result<Vec<(Partition, Plan)>, BeginError> {
    let setup = &shared.setup;
    match cluster::check_identity(member, setup) {
        Ok(()) => {}
        Err(IdentityError::Unavailable(code)) => return Err(KafkaError::MetadataFetch(code).into()),
        // A broker that has just started may not know every topic yet; the keeper tells when one is really gone.
        Err(IdentityError::Missing(_)) => {
            return Err(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition).into());
        }
        Err(changed) => return Err(BeginError::Broken(changed.to_string())),
    }
    let partitions: Vec<_> = ready.iter().map(|ready| ready.partition).collect();
    let committed = cluster::committed(member, setup, &partitions)?;
    let retained = cluster::retained(member, setup, &partitions)?;
    let plan = |((ready, committed), retained): ((&Ready, _), _)| {
        let safe = shared.safe_before(ready.partition);
        Ok((ready.partition, plan(setup, ready, safe, committed, retained)?))
    };
    ready.iter().zip(committed).zip(retained).map(plan).collect()
}

fn plan(
    setup: &Setup,
    ready: &Ready,
    safe: Option<Vec<i64>>,
    committed: Vec<Option<Committed>>,
    retained: Vec<Retained>,
) -> Result<Plan, BeginError> {
    let cursor = match &ready.resume_at {
        ResumeAt::Committed => None,
        ResumeAt::Behind(cursor) => Some(cursor),
    };
    let ids: Vec<_> = setup.topics.iter().map(|topic| topic.id).collect();
    if let Some(foreign) = cursor.and_then(|cursor| resume::foreign(cursor, &ids)) {
        return Err(BeginError::Broken(format!(
            "partition {}: what hangs on this source has a position in a topic of id {foreign}, which is none of the \
             topics read now ({}): a topic was deleted and made again, or the list was changed; start with empty stores, \
             or put the topic back",
            ready.partition,
            setup.topics.iter().map(|topic| format!("`{}` is {}", topic.name, topic.id)).collect::<Vec<_>>().join(", "),
        )));
    }
    let mut lanes = Vec::with_capacity(setup.topics.len());
    for (at, ((topic, committed), retained)) in setup.topics.iter().zip(committed).zip(retained).enumerate() {
        let own = match &safe {
            Some(safe) => Some(safe[at]),
            None => own_commit(topic, ready.partition, committed)?,
        };
        let wanted = cursor.map(|cursor| cursor.get(topic.id).map(|done| done + 1));
        let start = resume::start([Some(own), wanted].into_iter().flatten(), retained, setup.resume);
        let Start { offset, skipped } = start.map_err(|error| {
            BeginError::Broken(format!("topic `{}` partition {}: {error}", topic.name, ready.partition))
        })?;
        if skipped > 0 {
            count_gap(setup, topic, ready.partition, skipped);
        }
        lanes.push((offset, retained.high));
    }
    Ok(Plan { generation: ready.generation, lanes })
}

/// The group's commit, unless it was made for another topic of the same name.
fn own_commit(topic: &Topic, partition: Partition, committed: Option<Committed>) -> Result<Option<i64>, BeginError> {
    let Some(Committed { offset, metadata }) = committed else { return Ok(None) };
    // Offsets that a tool has set carry no id, or something of their own.
    let is_foreign = uuid::Uuid::try_parse(&metadata).is_ok_and(|id| id != topic.id.0);
    match is_foreign {
        false => Ok(Some(offset)),
        true => Err(BeginError::Broken(format!(
            "topic `{}` partition {partition}: the group's offset {offset} was committed for a topic of id {metadata}, \
             but the topic's id is {}: it was deleted and made again; start with a new group and empty stores",
            topic.name, topic.id
        ))),
    }
}

fn count_gap(setup: &Setup, topic: &Topic, partition: Partition, skipped: i64) {
    let (stage, name) = (&*setup.stage, &*topic.name);
    tracing::warn!(
        code = "kafka_gap",
        stage,
        topic = name,
        partition,
        skipped,
        "offsets are no longer retained; going on at the earliest"
    );
    metrics::counter!(
        "telemill_kafka_gap_offsets_total",
        "topology" => setup.topology.to_string(),
        "stage" => stage.to_owned(),
        "topic" => name.to_owned(),
        "partition" => partition.to_string(),
    )
    .increment(skipped.unsigned_abs());
}
