//! The acknowledging half.

use std::sync::Arc;

use telemill_engine::position::Partition;
use telemill_engine::source::{Acker, SourceError};

use super::running::{Ending, Stop};

/// Keeps the books of what is safe; the keeper thread commits it within half a second.
pub struct KafkaAcker {
    running: Arc<Stop>,
    /// None once it was waited for.
    ending: Option<Ending>,
}

impl KafkaAcker {
    pub(super) fn new(running: Arc<Stop>, ending: Ending) -> Self {
        KafkaAcker { running, ending: Some(ending) }
    }
}

impl Acker for KafkaAcker {
    async fn acknowledge(&mut self, batches: Vec<(Partition, u64)>) -> Result<(), SourceError> {
        self.running.0.acknowledge(batches);
        Ok(())
    }

    async fn give_back(&mut self, partition: Partition, tag: u64) -> Result<(), SourceError> {
        self.running.0.give_back(partition, tag);
        Ok(())
    }

    async fn close(&mut self) -> Result<(), SourceError> {
        self.running.0.stop();
        match self.ending.take() {
            Some(ending) => ending.wait().await,
            None => Ok(()),
        }
    }
}
