//! Reading the log: records from an offset on, and what groups have committed.

use std::sync::Arc;

use bytes::Bytes;
use telemill_engine::position::{Partition, Position};

use super::frame::{self, Frame};
use super::keys::{GROUPS, LOG, Line, broken, committed, offset_of};
use super::{Log, LogError, Topic};
use crate::embedded::disk::{Read, View};
use crate::log::begin::Committed;
use crate::log::message::{Parts, Taken};

/// A record of the log.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) offset: i64,
    /// As it stands there.
    pub(crate) frame: Bytes,
}

impl Entry {
    /// The record, or what is known of one that is none. `stage` is named in the dead letter of such a one.
    pub(crate) fn take(&self, topic: &Topic, partition: Partition, stage: &Arc<str>) -> Result<Taken, LogError> {
        let frame = frame::read(&self.frame).ok_or_else(|| not_a_record(topic, partition, self.offset))?;
        let parts = Parts {
            topic: &topic.name,
            position: Position { topic: topic.id, partition, offset: self.offset, output: 0 },
            timestamp: Some(frame.at.as_millis()),
            key: frame.key,
            value: Some(frame.value),
            headers: frame.headers,
        };
        Ok(parts.take(stage))
    }
}

/// The records of a partition from an offset on, up to and without another, at most so many and so many bytes of them;
/// one that is larger than all bytes is still given.
pub(crate) fn records(
    view: &View<'_>,
    topic: &Topic,
    partition: Partition,
    range: std::ops::Range<i64>,
    max_records: usize,
    max_bytes: usize,
) -> Result<Vec<Entry>, LogError> {
    let mut found = Vec::new();
    let mut bytes = 0;
    for row in view.rows(LOG, topic.place(partition).records(range.start, range.end)) {
        let (key, frame) = row?;
        let offset = offset_of(&key).ok_or_else(|| broken("the key of a record"))?;
        bytes += frame.len();
        if found.len() == max_records || (bytes > max_bytes && !found.is_empty()) {
            break;
        }
        found.push(Entry { offset, frame });
    }
    Ok(found)
}

/// Gives every record of a partition in a range of offsets to `each`, one after the other.
pub(crate) fn for_each(
    view: &View<'_>,
    topic: &Topic,
    partition: Partition,
    range: std::ops::Range<i64>,
    mut each: impl FnMut(Frame<'_>),
) -> Result<(), LogError> {
    for row in view.rows(LOG, topic.place(partition).records(range.start, range.end)) {
        let (key, frame) = row?;
        let offset = offset_of(&key).unwrap_or_default();
        each(frame::read(&frame).ok_or_else(|| not_a_record(topic, partition, offset))?);
    }
    Ok(())
}

fn not_a_record(topic: &Topic, partition: Partition, offset: i64) -> LogError {
    broken(&format!("the record `{}/{partition}/{offset}`", topic.name)).into()
}

/// The first offset retained of a partition and the one behind the last.
pub(crate) fn bounds(view: &View<'_>, topic: &Topic, partition: Partition) -> Result<(i64, i64), LogError> {
    let line = Line::load(view, topic.place(partition))?;
    Ok((line.start, line.end))
}

/// What a group has committed of a partition, topic by topic.
pub(crate) fn commits(
    view: &View<'_>,
    group: &str,
    topics: &[Arc<Topic>],
    partition: Partition,
) -> Result<Vec<Option<Committed>>, LogError> {
    let one = |topic: &Arc<Topic>| {
        let value = view.get(GROUPS, &topic.place(partition).group(group))?;
        let committed = value.map(|value| committed(&value)).transpose()?;
        Ok(committed.map(|(offset, metadata)| Committed { offset, metadata }))
    };
    topics.iter().map(one).collect()
}

impl Log {
    /// The records of a partition in a range of offsets, as far as it is retained, at most so many of them.
    pub(crate) async fn read(
        &self,
        topic: &Arc<Topic>,
        partition: Partition,
        range: std::ops::Range<i64>,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, LogError> {
        let topic = topic.clone();
        self.disk.read(move |view| records(view, &topic, partition, range, max_records, max_bytes)).await
    }
}
