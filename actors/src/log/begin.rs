//! Where a partition begins: the engine's answer, the group's commits and what the log retains, put together. Pure.

use telemill_engine::position::Partition;
use telemill_engine::source::ResumeAt;

use super::reading::{Reading, Topic};
use super::resume::{self, Retained, Start};

/// What a group has committed of a topic in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    /// The next offset to read.
    pub(crate) offset: i64,
    /// The id of the topic that it was committed for, or whatever a tool has put there.
    pub(crate) metadata: String,
}

/// The first offset to read and the end of each topic of a partition. `safe`: what this source had done before the
/// partition was assigned anew. An error says why there is no good place to begin.
pub(crate) fn lanes(
    reading: &Reading,
    partition: Partition,
    resume_at: &ResumeAt,
    safe: Option<Vec<i64>>,
    committed: Vec<Option<Committed>>,
    retained: Vec<Retained>,
) -> Result<Vec<(i64, i64)>, String> {
    let cursor = match resume_at {
        ResumeAt::Committed => None,
        ResumeAt::Behind(cursor) => Some(cursor),
    };
    let ids: Vec<_> = reading.topics.iter().map(|topic| topic.id).collect();
    if let Some(foreign) = cursor.and_then(|cursor| resume::foreign(cursor, &ids)) {
        return Err(format!(
            "partition {partition}: what hangs on this source has a position in a topic of id {foreign}, which is none \
             of the topics read now ({}): a topic was deleted and made again, or the list was changed; start with empty \
             stores, or put the topic back",
            reading
                .topics
                .iter()
                .map(|topic| format!("`{}` is {}", topic.name, topic.id))
                .collect::<Vec<_>>()
                .join(", "),
        ));
    }
    let mut lanes = Vec::with_capacity(reading.topics.len());
    for (at, ((topic, committed), retained)) in reading.topics.iter().zip(committed).zip(retained).enumerate() {
        let own = match &safe {
            Some(safe) => Some(safe[at]),
            None => own_commit(topic, partition, committed)?,
        };
        let wanted = cursor.map(|cursor| cursor.get(topic.id).map(|done| done + 1));
        let start = resume::start([Some(own), wanted].into_iter().flatten(), retained, reading.resume);
        let Start { offset, skipped } =
            start.map_err(|error| format!("topic `{}` partition {partition}: {error}", topic.name))?;
        if skipped > 0 {
            count_gap(reading, topic, partition, skipped);
        }
        lanes.push((offset, retained.high));
    }
    Ok(lanes)
}

/// The group's commit, unless it was made for another topic of the same name.
fn own_commit(topic: &Topic, partition: Partition, committed: Option<Committed>) -> Result<Option<i64>, String> {
    let Some(Committed { offset, metadata }) = committed else { return Ok(None) };
    // Offsets that a tool has set carry no id, or something of their own.
    let is_foreign = uuid::Uuid::try_parse(&metadata).is_ok_and(|id| id != topic.id.0);
    match is_foreign {
        false => Ok(Some(offset)),
        true => Err(format!(
            "topic `{}` partition {partition}: the group's offset {offset} was committed for a topic of id {metadata}, \
             but the topic's id is {}: it was deleted and made again; start with a new group and empty stores",
            topic.name, topic.id
        )),
    }
}

fn count_gap(reading: &Reading, topic: &Topic, partition: Partition, skipped: i64) {
    let (stage, name) = (&*reading.stage, &*topic.name);
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
        "topology" => reading.topology.to_string(),
        "stage" => stage.to_owned(),
        "topic" => name.to_owned(),
        "partition" => partition.to_string(),
    )
    .increment(skipped.unsigned_abs());
}
