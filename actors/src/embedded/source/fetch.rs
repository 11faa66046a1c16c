//! What the reader has done on a blocking thread: finding out where partitions begin, and reading them.

use std::sync::Arc;

use telemill_engine::position::Partition;
use telemill_engine::source::{ResumeAt, SourceError};

use super::shared::Shared;
use crate::embedded::disk::{DiskError, View};
use crate::embedded::log::{LogError, Topic, bounds, commits, records};
use crate::log::begin::lanes;
use crate::log::ledger::Generation;
use crate::log::merge::In;
use crate::log::reading::Body;
use crate::log::resume::Retained;

/// With so much read of one topic of one partition, no further row of it is begun.
const BURST: usize = 64;
const BURST_BYTES: usize = 64 * 1024;

/// A partition whose beginning the engine has said.
pub(super) struct Ready {
    pub(super) partition: Partition,
    pub(super) generation: Generation,
    pub(super) resume_at: ResumeAt,
    /// What this source had done before the partition was assigned anew.
    pub(super) safe: Option<Vec<i64>>,
}

/// Where a partition begins: first offset and end, topic by topic.
pub(super) struct Begun {
    pub(super) partition: Partition,
    pub(super) generation: Generation,
    pub(super) lanes: Vec<(i64, i64)>,
}

/// What to read: a topic of a partition, by the topic's index.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub(super) partition: Partition,
    pub(super) generation: Generation,
    pub(super) topic: usize,
    pub(super) from: i64,
    /// The end as it is known.
    pub(super) end: i64,
}

/// What was read.
pub(super) struct Fetched {
    pub(super) wanted: Wanted,
    pub(super) read: Vec<In<Body>>,
    /// The log does not have what was to be read next.
    pub(super) gone: bool,
}

/// What came of a piece of work.
pub(super) enum Done {
    Begun(Vec<Begun>),
    Fetched(Vec<Fetched>),
}

/// Where these partitions begin.
pub(super) fn begin(view: &View<'_>, shared: &Shared, ready: &[Ready]) -> Result<Done, WorkError> {
    let one = |ready: &Ready| {
        let partition = ready.partition;
        let committed = commits(view, &shared.group, &shared.topics, partition)?;
        let retained = |topic: &Arc<Topic>| {
            let (low, high) = bounds(view, topic, partition)?;
            Ok(Retained { low, high })
        };
        let retained = shared.topics.iter().map(retained).collect::<Result<_, LogError>>()?;
        let lanes = lanes(&shared.reading, partition, &ready.resume_at, ready.safe.clone(), committed, retained);
        let lanes = lanes.map_err(|why| WorkError(SourceError::Broken(why)))?;
        Ok(Begun { partition, generation: ready.generation, lanes })
    };
    Ok(Done::Begun(ready.iter().map(one).collect::<Result<_, WorkError>>()?))
}

/// Reads a burst of each that is wanted.
pub(super) fn fetch(view: &View<'_>, shared: &Shared, wanted: &[Wanted]) -> Result<Done, WorkError> {
    let one = |wanted: &Wanted| {
        let topic = &shared.topics[wanted.topic];
        let entries = records(view, topic, wanted.partition, wanted.from..wanted.end, BURST, BURST_BYTES)?;
        // Offsets are dense: what does not begin where it should has lost its beginning.
        let gone = entries.first().is_none_or(|first| first.offset != wanted.from);
        let mut read = Vec::with_capacity(entries.len());
        for entry in entries.iter().filter(|_| !gone) {
            let taken = entry.take(topic, wanted.partition, &shared.reading.stage)?;
            read.push(shared.reading.to_merge(taken, wanted.topic, entry.offset));
        }
        Ok(Fetched { wanted: *wanted, read, gone })
    };
    Ok(Done::Fetched(wanted.iter().map(one).collect::<Result<_, WorkError>>()?))
}

/// Why a piece of work came to nothing.
pub(super) struct WorkError(pub(super) SourceError);

impl From<LogError> for WorkError {
    fn from(error: LogError) -> Self {
        WorkError(match error {
            LogError::Disk(DiskError::Broken(_)) | LogError::Impossible(_) => SourceError::Broken(error.to_string()),
            _ => SourceError::Unavailable(error.to_string()),
        })
    }
}

impl From<DiskError> for WorkError {
    fn from(error: DiskError) -> Self {
        LogError::from(error).into()
    }
}

/// Has a piece of work done on a blocking thread.
pub(super) fn spawn(
    shared: &Arc<Shared>,
    work: impl FnOnce(&View<'_>, &Shared) -> Result<Done, WorkError> + Send + 'static,
) -> tokio::task::JoinHandle<Result<Done, WorkError>> {
    let (disk, shared) = (shared.log.disk().clone(), shared.clone());
    tokio::spawn(async move { disk.read(move |view| work(view, &shared)).await })
}
