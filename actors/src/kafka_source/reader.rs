//! The reading half.

use std::sync::Arc;

use telemill_engine::source::{SourceError, SourceEvent, SourceReader};

use super::running::Stop;

/// Gives out what the fetch thread has read.
pub struct KafkaReader(Arc<Stop>);

impl KafkaReader {
    pub(super) fn new(running: Arc<Stop>) -> Self {
        KafkaReader(running)
    }
}

impl SourceReader for KafkaReader {
    fn partitions(&self) -> u32 {
        self.0.0.partitions()
    }

    async fn next(&mut self, max_records: usize) -> Result<SourceEvent, SourceError> {
        let shared = &self.0.0;
        loop {
            // Nothing is taken before it is returned, so dropping this future loses nothing.
            if let Some(next) = shared.next(max_records) {
                return next;
            }
            shared.readable().await;
        }
    }
}
