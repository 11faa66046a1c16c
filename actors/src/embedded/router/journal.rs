//! A topic of the embedded log as the journal of the keyed stage that feeds its router.

use std::sync::Arc;

use async_trait::async_trait;
use telemill_engine::ports::{Journal, PortError};
use telemill_engine::position::Partition;
use telemill_engine::record::Record;

use crate::embedded::log::{Log, Topic};

pub(super) struct EmbeddedJournal {
    pub(super) log: Arc<Log>,
    pub(super) topic: Arc<Topic>,
    pub(super) stage: Arc<str>,
}

impl EmbeddedJournal {
    fn bounds(&self, partition: Partition) -> Result<(i64, i64), PortError> {
        if !(0..self.topic.partitions()).contains(&partition) {
            return Err(PortError(format!(
                "journal topic `{}` has {} partitions, but partition {partition} is asked for; give it as many as the \
                 source's topics",
                self.topic.name,
                self.topic.partitions()
            )));
        }
        Ok(self.topic.bounds(partition))
    }
}

#[async_trait]
impl Journal for EmbeddedJournal {
    async fn end(&self, partition: Partition) -> Result<i64, PortError> {
        self.bounds(partition).map(|(_, end)| end)
    }

    /// What is no longer retained is left out, and so is what is no record.
    async fn read(&self, partition: Partition, from: i64) -> Result<Vec<Record>, PortError> {
        let (low, end) = self.bounds(partition)?;
        let entries = self.log.read(&self.topic, partition, from.max(low)..end, usize::MAX, usize::MAX).await?;
        let mut records = Vec::with_capacity(entries.len());
        for entry in entries {
            match entry.take(&self.topic, partition, &self.stage)?.record {
                Ok(record) => records.push(record),
                Err(rejected) => {
                    let place = String::from_utf8_lossy(&rejected.why.source).into_owned();
                    let (stage, detail) = (&*self.stage, &rejected.why.detail);
                    tracing::warn!(code = "journal_foreign", stage, place, %detail, "left out of the journal");
                }
            }
        }
        Ok(records)
    }
}
