//! A topic of the embedded log as the log of alert transitions that every stream is a cursor on.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream;
use telemill_engine::ports::{AlertEntries, AlertEntry, AlertLog, FollowError, PortError};
use telemill_engine::record::Kind;
use tokio::sync::watch;

use crate::embedded::log::{Log, Topic};
use crate::log::cursor::LogCursor;

/// With so many records of a partition read, or so many bytes, no further row is begun.
const AHEAD: usize = 64;
const AHEAD_BYTES: usize = 256 * 1024;

pub(super) struct EmbeddedAlertLog {
    pub(super) log: Arc<Log>,
    pub(super) topic: Arc<Topic>,
    pub(super) stage: Arc<str>,
}

#[async_trait]
impl AlertLog for EmbeddedAlertLog {
    async fn follow(&self, after: Option<&str>) -> Result<AlertEntries, FollowError> {
        let cursor = match after {
            Some(after) => LogCursor::behind(after, self.topic.id, self.topic.partitions())?,
            None => {
                let next = (0..self.topic.partitions()).map(|partition| self.topic.bounds(partition).1);
                LogCursor { topic: self.topic.id, next: next.collect() }
            }
        };
        let follower = Follower {
            log: self.log.clone(),
            topic: self.topic.clone(),
            stage: self.stage.clone(),
            cursor,
            // Before the first look, so that what comes behind it is not missed.
            moved: self.log.moved(),
            ahead: VecDeque::new(),
        };
        let entries = stream::unfold(Some(follower), async |follower| {
            let mut follower = follower?;
            match follower.next().await {
                Ok(entry) => Some((Ok(entry), Some(follower))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(entries.boxed())
    }
}

struct Follower {
    log: Arc<Log>,
    topic: Arc<Topic>,
    stage: Arc<str>,
    cursor: LogCursor,
    moved: watch::Receiver<u64>,
    ahead: VecDeque<AlertEntry>,
}

impl Follower {
    async fn next(&mut self) -> Result<AlertEntry, PortError> {
        loop {
            if let Some(entry) = self.ahead.pop_front() {
                return Ok(entry);
            }
            self.moved.borrow_and_update();
            if !self.read_ahead().await? {
                let ended = |_| PortError("the alert log was closed".to_owned());
                self.moved.changed().await.map_err(ended)?;
            }
        }
    }

    /// Reads on; false when there is nothing more.
    async fn read_ahead(&mut self) -> Result<bool, PortError> {
        let mut moved = false;
        for partition in 0..self.topic.partitions() {
            let at = partition as usize;
            let (low, end) = self.topic.bounds(partition);
            let from = self.cursor.next[at].max(low);
            if from >= end {
                continue;
            }
            moved = true;
            for entry in self.log.read(&self.topic, partition, from..end, AHEAD, AHEAD_BYTES).await? {
                self.cursor.next[at] = entry.offset + 1;
                match entry.take(&self.topic, partition, &self.stage)?.record {
                    Ok(record) if record.kind == Kind::Alert => {
                        self.ahead.push_back(AlertEntry { cursor: self.cursor.to_string(), body: record.payload });
                    }
                    // Others may write here, too.
                    _ => {}
                }
            }
        }
        Ok(moved)
    }
}
