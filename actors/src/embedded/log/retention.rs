//! What is old, or too much, leaves the log.
//!
//! A row of records, which were taken together, goes when it is older than its topic's retention, or when the topic holds
//! more bytes than it may, the oldest of the topic first. What goes is always a partition's beginning, so the first offset
//! retained says all. It goes in steps, each one atomic write together with the partition's line, and may use the room that
//! is kept free on the disk: tidying is what makes room there.

use std::ops::Range;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use telemill_engine::clock::Timestamp;
use telemill_engine::position::Partition;

use super::keys::{LOG, Line};
use super::read::rows;
use super::{Log, LogError, Stored, Topic, lock};
use crate::embedded::disk::{Tx, View};

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(5);
/// Rows that go in one step.
const STEP: usize = 2048;

/// Has the log, and what its directory takes, looked after for as long as it is in use, on the runtime of the caller.
pub(super) fn keep(log: &Arc<Log>) {
    let mut tidying = lock(&log.tidying);
    // One that was started on a runtime that is gone has ended with it.
    if tidying.as_ref().is_none_or(|task| task.is_finished()) {
        *tidying = Some(tokio::spawn(run(Arc::downgrade(log))));
    }
}

async fn run(log: Weak<Log>) {
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        ticks.tick().await;
        let Some(log) = log.upgrade() else { return };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = Timestamp(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        if let Err(error) = log.tidy(now).await {
            tracing::warn!(code = "retention", %error, "old records could not be removed");
        }
        log.show_usage().await;
    }
}

/// What goes of a partition.
struct Going {
    partition: Partition,
    /// The first offsets of its rows.
    rows: Vec<i64>,
    /// The offset behind them.
    before: i64,
    /// Their keys and values.
    bytes: u64,
}

impl Log {
    /// Gives out what the data directory takes. That it cannot be measured now is no reason to stop.
    async fn show_usage(&self) {
        let Ok(usage) = self.disk.measure().await else { return };
        let dir = self.disk.dir().display().to_string();
        metrics::gauge!("telemill_data_dir_bytes", "dir" => dir.clone()).set(usage.used as f64);
        metrics::gauge!("telemill_data_dir_free_bytes", "dir" => dir).set(usage.free as f64);
    }

    /// Removes what is not to be retained any more as of `now`.
    pub(crate) async fn tidy(&self, now: Timestamp) -> Result<(), LogError> {
        for topic in self.topics() {
            if topic.retention().is_none() && topic.retention_bytes().is_none() {
                continue;
            }
            loop {
                let looked = topic.clone();
                let going = self.disk.read(move |view| going(view, &looked, now)).await?;
                if going.is_empty() {
                    break;
                }
                let removed = topic.clone();
                self.disk.tidy(move |tx| remove(tx, &removed, going)).await?;
            }
        }
        Ok(())
    }
}

/// The next step: what of a topic is to go, at most [`STEP`] rows.
fn going(view: &View<'_>, topic: &Topic, now: Timestamp) -> Result<Vec<Going>, LogError> {
    let mut heads = Vec::new();
    let mut total = 0;
    for partition in 0..topic.partitions() {
        let line = Line::load(view, topic.place(partition))?;
        total += line.bytes;
        let going = Going { partition, rows: Vec::new(), before: line.start, bytes: 0 };
        let mut rows = rows(view, topic, partition, line.start..line.end);
        let next = rows.next().transpose()?.map(Oldest::of);
        heads.push(Head { going, rows, next });
    }
    let mut taken = 0;
    while taken < STEP {
        let with_next = heads.iter_mut().filter_map(|head| Some((head.next.as_ref()?.at, head)));
        let Some((at, head)) = with_next.min_by_key(|(at, _)| *at) else { break };
        let too_old = topic.retention().is_some_and(|retention| now.since(at) > retention);
        let too_much = topic.retention_bytes().is_some_and(|limit| total > limit);
        if !too_old && !too_much {
            break;
        }
        total = total.saturating_sub(head.go()?);
        taken += 1;
    }
    Ok(heads.into_iter().map(|head| head.going).filter(|going| !going.rows.is_empty()).collect())
}

/// A partition, and the oldest row of it that stays so far.
struct Head<I> {
    going: Going,
    rows: I,
    next: Option<Oldest>,
}

/// What is to be known of a row; without its records, which may be many in all partitions.
struct Oldest {
    at: Timestamp,
    offsets: Range<i64>,
    bytes: u64,
}

impl Oldest {
    fn of(row: Stored) -> Self {
        Oldest { at: row.at, bytes: row.bytes(), offsets: row.offsets }
    }
}

impl<I: Iterator<Item = Result<Stored, LogError>>> Head<I> {
    /// Has the oldest row go; its bytes.
    fn go(&mut self) -> Result<u64, LogError> {
        let Some(row) = self.next.take() else { return Ok(0) };
        self.next = self.rows.next().transpose()?.map(Oldest::of);
        self.going.rows.push(row.offsets.start);
        self.going.before = row.offsets.end;
        self.going.bytes += row.bytes;
        Ok(row.bytes)
    }
}

/// Removes a step. What was appended since it was planned stays, since that is behind.
fn remove(tx: &mut Tx<'_>, topic: &Arc<Topic>, going: Vec<Going>) -> Result<(), LogError> {
    let mut lines = Vec::new();
    for Going { partition, rows, before, bytes } in going {
        let place = topic.place(partition);
        let mut line = Line::load(tx, place)?;
        for first in rows {
            tx.remove(LOG, place.row(first));
        }
        line.start = line.start.max(before);
        line.bytes = line.bytes.saturating_sub(bytes);
        line.save(tx, place);
        lines.push((partition, line));
    }
    let topic = topic.clone();
    tx.on_durable(move || lines.into_iter().for_each(|(partition, line)| topic.moved(partition, line)));
    Ok(())
}
