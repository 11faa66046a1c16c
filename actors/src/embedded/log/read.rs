//! Reading the log: records from an offset on, and what groups have committed.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use telemill_engine::position::{Partition, Position};

use super::frame::Frame;
use super::keys::{GROUPS, LOG, Line, broken, committed, offset_of};
use super::{Entry, Log, LogError, Stored, Topic};
use crate::embedded::disk::{DiskError, Read, View};
use crate::log::begin::Committed;
use crate::log::message::{Parts, Taken};

impl Entry {
    /// The record, or what is known of one that is none. `stage` is named in the dead letter of such a one.
    pub(crate) fn take(&self, topic: &Topic, partition: Partition, stage: &Arc<str>) -> Result<Taken, LogError> {
        let frame = self.frame().ok_or_else(|| not_a_record(topic, partition, self.offset))?;
        let parts = Parts {
            topic: &topic.name,
            position: Position { topic: topic.id, partition, offset: self.offset, output: 0 },
            timestamp: Some(self.at.as_millis()),
            key: frame.key,
            value: Some(frame.value),
            headers: frame.headers,
        };
        Ok(parts.take(stage))
    }
}

/// The rows of a partition that have records in a range of offsets.
pub(super) fn rows<'a>(
    view: &'a View<'_>,
    topic: &'a Topic,
    partition: Partition,
    range: Range<i64>,
) -> impl Iterator<Item = Result<Stored, LogError>> + 'a {
    let place = topic.place(partition);
    let mut found = view.rows(LOG, place.rows(range.start, range.end)).peekable();
    // Where no row begins at the start of the range, the row before may reach into it.
    let begins_there = matches!(found.peek(), Some(Ok((key, _))) if offset_of(key) == Some(range.start));
    let looks_back = !begins_there && !range.is_empty();
    let before = if looks_back { view.rows_back(LOG, place.rows(0, range.start)).next() } else { None };
    let row = move |row: Result<_, DiskError>| {
        let (key, row): (Bytes, Bytes) = row?;
        let first = offset_of(&key).ok_or_else(|| broken("the key of a row"))?;
        Stored::read(first, row).ok_or_else(|| not_a_record(topic, partition, first))
    };
    let reaches = move |row: &Result<Stored, LogError>| row.as_ref().map_or(true, |row| row.offsets.end > range.start);
    before.into_iter().map(row).filter(reaches).chain(found.map(row))
}

/// The records of a partition from an offset on, up to and without another. No further row is begun with so many records, or
/// so many bytes of them; what was begun is given whole, because reading on in the middle of a page reads all of it again.
pub(crate) fn records(
    view: &View<'_>,
    topic: &Topic,
    partition: Partition,
    range: Range<i64>,
    max_records: usize,
    max_bytes: usize,
) -> Result<Vec<Entry>, LogError> {
    let mut found = Vec::new();
    let mut bytes = 0;
    for row in rows(view, topic, partition, range.clone()) {
        for entry in entries(&row?, topic, partition, &range) {
            let entry = entry?;
            bytes += entry.len();
            found.push(entry);
        }
        if found.len() >= max_records || bytes >= max_bytes {
            break;
        }
    }
    Ok(found)
}

/// Gives every record of a partition in a range of offsets to `each`, one after the other.
pub(crate) fn for_each(
    view: &View<'_>,
    topic: &Topic,
    partition: Partition,
    range: Range<i64>,
    mut each: impl FnMut(Frame<'_>),
) -> Result<(), LogError> {
    for row in rows(view, topic, partition, range.clone()) {
        for entry in entries(&row?, topic, partition, &range) {
            let entry = entry?;
            each(entry.frame().ok_or_else(|| not_a_record(topic, partition, entry.offset))?);
        }
    }
    Ok(())
}

/// The records of a row that are in a range of offsets.
fn entries<'a>(
    row: &Stored,
    topic: &'a Topic,
    partition: Partition,
    range: &'a Range<i64>,
) -> impl Iterator<Item = Result<Entry, LogError>> + 'a {
    let entries = row.entries().map(move |entry| entry.map_err(|offset| not_a_record(topic, partition, offset)));
    entries.filter(|entry| entry.as_ref().map_or(true, |entry| range.contains(&entry.offset)))
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
    /// The records of a partition in a range of offsets, as far as it is retained; see [`records`].
    pub(crate) async fn read(
        &self,
        topic: &Arc<Topic>,
        partition: Partition,
        range: Range<i64>,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, LogError> {
        let topic = topic.clone();
        self.disk.read(move |view| records(view, &topic, partition, range, max_records, max_bytes)).await
    }
}
