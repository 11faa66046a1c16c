//! The acknowledging half.

use std::sync::Arc;

use telemill_engine::position::Partition;
use telemill_engine::source::{Acker, SourceError};
use tokio::task::JoinHandle;

use super::commit;
use super::shared::Shared;

/// Keeps the books of what is safe, and has it committed within half a second.
pub struct EmbeddedAcker {
    shared: Arc<Shared>,
    keeper: JoinHandle<()>,
}

impl EmbeddedAcker {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let keeper = tokio::spawn(commit::keep(shared.clone()));
        EmbeddedAcker { shared, keeper }
    }
}

impl Acker for EmbeddedAcker {
    async fn acknowledge(&mut self, batches: Vec<(Partition, u64)>) -> Result<(), SourceError> {
        let mut state = self.shared.state();
        for (partition, tag) in batches {
            state.ledger.acknowledge(partition, tag);
        }
        Ok(())
    }

    async fn give_back(&mut self, partition: Partition, tag: u64) -> Result<(), SourceError> {
        let is_current = self.shared.state().ledger.is_current_tag(partition, tag);
        if is_current {
            self.shared.assign_again(partition);
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<(), SourceError> {
        self.keeper.abort();
        // Until it is gone it may be committing, and it keeps the directory open.
        let _ = (&mut self.keeper).await;
        self.shared.close();
        let committed = commit::all(&self.shared).await;
        self.shared.release();
        committed.map_err(|error| SourceError::Unavailable(format!("the last commit failed: {error}")))
    }
}

impl Drop for EmbeddedAcker {
    fn drop(&mut self) {
        self.keeper.abort();
        self.shared.close();
        self.shared.release();
    }
}
