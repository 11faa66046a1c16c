//! What is old, or too much, leaves the log.
//!
//! A record goes when it is older than its topic's retention, or when the topic holds more bytes than it may, the oldest
//! of the topic first. What goes is always a partition's beginning, so the first offset retained says all. It goes in
//! steps, each one atomic write together with the partition's line, and may use the room that is kept free on the disk:
//! tidying is what makes room there.

use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use telemill_engine::clock::Timestamp;
use telemill_engine::position::Partition;

use super::keys::{LOG, Line, broken, offset_of};
use super::{Log, LogError, Topic, frame, lock};
use crate::embedded::disk::{Read, Rows, Tx, View};

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(5);
/// Records that go in one step.
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

/// What goes of each partition: up to and without this offset, and its bytes.
type Going = Vec<(Partition, i64, u64)>;

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

/// The next step: what of a topic is to go, at most [`STEP`] records.
fn going(view: &View<'_>, topic: &Topic, now: Timestamp) -> Result<Going, LogError> {
    let mut heads = Vec::new();
    let mut total = 0;
    for partition in 0..topic.partitions() {
        let line = Line::load(view, topic.place(partition))?;
        total += line.bytes;
        let mut head = Head {
            partition,
            start: line.start,
            before: line.start,
            bytes: 0,
            rows: view.rows(LOG, topic.place(partition).records(line.start, line.end)),
            next: None,
        };
        head.advance()?;
        heads.push(head);
    }
    let mut taken = 0;
    while taken < STEP {
        let with_next = heads.iter_mut().filter_map(|head| Some((head.next?, head)));
        let Some((next, head)) = with_next.min_by_key(|(next, _)| next.at) else { break };
        let too_old = topic.retention().is_some_and(|retention| now.since(next.at) > retention);
        let too_much = topic.retention_bytes().is_some_and(|limit| total > limit);
        if !too_old && !too_much {
            break;
        }
        total = total.saturating_sub(next.bytes);
        head.bytes += next.bytes;
        head.before = next.offset + 1;
        head.advance()?;
        taken += 1;
    }
    let going = heads.into_iter().filter(|head| head.before > head.start);
    Ok(going.map(|head| (head.partition, head.before, head.bytes)).collect())
}

/// The oldest record of a partition that stays so far.
struct Head<'a> {
    partition: Partition,
    start: i64,
    /// What goes is before this offset.
    before: i64,
    /// Of what goes.
    bytes: u64,
    rows: Rows<'a>,
    next: Option<Next>,
}

#[derive(Clone, Copy)]
struct Next {
    offset: i64,
    at: Timestamp,
    bytes: u64,
}

impl Head<'_> {
    fn advance(&mut self) -> Result<(), LogError> {
        let next = |(key, frame): (bytes::Bytes, bytes::Bytes)| {
            let (offset, at) = (offset_of(&key)?, frame::time(&frame)?);
            Some(Next { offset, at, bytes: (key.len() + frame.len()) as u64 })
        };
        let row = self.rows.next().transpose()?;
        self.next = row.map(|row| next(row).ok_or_else(|| broken("a record"))).transpose()?;
        Ok(())
    }
}

/// Removes a step. What was appended since it was planned stays, since that is behind.
fn remove(tx: &mut Tx<'_>, topic: &Arc<Topic>, going: Going) -> Result<(), LogError> {
    let mut lines = Vec::new();
    for (partition, before, bytes) in going {
        let place = topic.place(partition);
        let mut line = Line::load(tx, place)?;
        for offset in line.start..before {
            tx.remove(LOG, place.record(offset));
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
