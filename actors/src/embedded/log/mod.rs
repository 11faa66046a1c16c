//! The durable log of the embedded default: topics, partitions, records, groups (`docs/formats.md`, "Embedded log").
//!
//! What Kafka promises a single instance, this promises: a record is acknowledged when it is on the disk, a partition's
//! records are in the order in which they were appended, and whoever reads gets them in that order from any offset that
//! is retained. All partitions of all topics share the data directory's one journal, so that what is appended at the
//! same time is made durable by one fdatasync.

pub(crate) mod frame;
mod keys;
mod page;
mod read;
mod retention;
mod stamp;
#[cfg(test)]
mod tests;
mod topics;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use telemill_engine::context::TopicDecl;
use telemill_engine::ports::PortError;
use telemill_engine::position::Partition;
use telemill_engine::stage::BuildError;
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::disk::{Disk, DiskError, Tx};
use keys::{GROUPS, LOG, Line, Place};

pub(crate) use page::{Entry, Page, Stored};
pub(crate) use read::{bounds, commits, for_each, records};
pub(crate) use topics::Topic;

/// Why the log could not do what it was asked.
#[derive(Clone, Debug, Error)]
pub(crate) enum LogError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// It cannot be done, however often it is tried.
    #[error("{0}")]
    Impossible(String),
    /// A write that was to come before this one did not get through.
    #[error("a write before this one did not get through")]
    Behind,
}

impl From<LogError> for BuildError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Disk(error) => error.into(),
            other => BuildError::Impossible(other.to_string()),
        }
    }
}

impl From<LogError> for PortError {
    fn from(error: LogError) -> Self {
        PortError(format!("the embedded log: {error}"))
    }
}

/// The log of a data directory; one for all who use the directory.
pub(crate) struct Log {
    disk: Arc<Disk>,
    topics: Mutex<HashMap<String, Arc<Topic>>>,
    /// Counts how often an end has moved.
    moved: watch::Sender<u64>,
    /// The groups that are being read.
    groups: Mutex<BTreeSet<String>>,
    tidying: Mutex<Option<JoinHandle<()>>>,
}

/// Records to be appended to a partition.
#[derive(Debug)]
pub(crate) struct Append {
    pub(crate) topic: Arc<Topic>,
    pub(crate) partition: Partition,
    pub(crate) page: Page,
}

impl Log {
    /// The log of a directory.
    pub(crate) fn of(disk: &Arc<Disk>) -> Arc<Log> {
        disk.shared(|| {
            Arc::new(Log {
                disk: disk.clone(),
                topics: Mutex::default(),
                moved: watch::Sender::new(0),
                groups: Mutex::default(),
                tidying: Mutex::default(),
            })
        })
    }

    pub(crate) fn disk(&self) -> &Arc<Disk> {
        &self.disk
    }

    /// Makes sure that these topics exist as declared; in the same order. Retention and the largest record follow the
    /// latest declaration.
    pub(crate) async fn ensure(self: &Arc<Self>, declared: &[TopicDecl]) -> Result<Vec<Arc<Topic>>, LogError> {
        let wanted = declared.to_vec();
        let loaded = self.disk.write(move |tx| topics::ensure(tx, &wanted)).await?;
        let mut known = lock(&self.topics);
        let ensured = loaded.into_iter().zip(declared).map(|(topic, decl)| {
            let topic = known.entry(topic.name.clone()).or_insert_with(|| Arc::new(topic));
            topic.declare(decl);
            topic.clone()
        });
        let ensured = ensured.collect();
        drop(known);
        retention::keep(self);
        Ok(ensured)
    }

    /// The topics in use.
    fn topics(&self) -> Vec<Arc<Topic>> {
        lock(&self.topics).values().cloned().collect()
    }

    /// Tells when an end has moved.
    pub(crate) fn moved(&self) -> watch::Receiver<u64> {
        self.moved.subscribe()
    }

    /// Takes a group for as long as what is returned lives; `None` when another stage of this process has it.
    pub(crate) fn join(self: &Arc<Self>, group: &str) -> Option<Membership> {
        let joined = lock(&self.groups).insert(group.to_owned());
        joined.then(|| Membership { log: self.clone(), group: group.to_owned() })
    }
}

/// The right to read and commit as a group.
pub(crate) struct Membership {
    log: Arc<Log>,
    group: String,
}

impl Drop for Membership {
    fn drop(&mut self) {
        lock(&self.log.groups).remove(&self.group);
    }
}

/// Appends within a write, in order. Who waits for new records is woken when the write is durable.
pub(crate) struct Appender<'a, 'b> {
    log: Arc<Log>,
    tx: &'a mut Tx<'b>,
    lines: Vec<(Arc<Topic>, Partition, Line)>,
}

impl<'a, 'b> Appender<'a, 'b> {
    pub(crate) fn new(log: &Arc<Log>, tx: &'a mut Tx<'b>) -> Self {
        Appender { log: log.clone(), tx, lines: Vec::new() }
    }

    /// Appends a page, which has a record; the offset of its last one.
    pub(crate) fn append(&mut self, append: Append) -> Result<i64, LogError> {
        let Append { topic, partition, page } = append;
        let place = topic.place(partition);
        let known = self.lines.iter().position(|(t, p, _)| *p == partition && t.number == place.topic);
        let at = match known {
            Some(at) => at,
            None => {
                let line = Line::load(self.tx, place)?;
                self.lines.push((topic, partition, line));
                self.lines.len() - 1
            }
        };
        let line = &mut self.lines[at].2;
        let key = place.row(line.end);
        line.end += i64::from(page.records());
        let row = page.into_row();
        line.bytes += (key.len() + row.len()) as u64;
        self.tx.insert(LOG, key, row);
        Ok(line.end - 1)
    }

    /// Ends the appending. Without it what was appended is not part of the log.
    pub(crate) fn finish(self) {
        let Appender { log, tx, lines } = self;
        if lines.is_empty() {
            return;
        }
        for (topic, partition, line) in &lines {
            line.save(tx, topic.place(*partition));
        }
        tx.on_durable(move || {
            for (topic, partition, line) in lines {
                topic.moved(partition, line);
            }
            log.moved.send_modify(|count| *count += 1);
        });
    }
}

/// Notes what a group has done: the next offset to read of a partition.
pub(crate) fn commit(tx: &mut Tx<'_>, group: &str, topic: &Topic, partition: Partition, offset: i64) {
    let place: Place = topic.place(partition);
    tx.insert(GROUPS, place.group(group), keys::commit(offset, &topic.id.to_string()));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
