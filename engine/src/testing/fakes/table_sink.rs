//! A sink over a guarded table, several batches in flight.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use tokio::time::{Instant, sleep_until};

use crate::batch::Batch;
use crate::position::{Cursor, Epoch, Partition};
use crate::record::Reason;
use crate::sink::{Completion, Sink, Submitted};
use crate::stage::StageError;
use crate::testing::world::{Poison, SimTable, World};

use super::router::through;

/// Writes to a [`SimTable`].
pub struct SimTableSink {
    /// The world whose troubles it has.
    pub world: Arc<World>,
    /// The table.
    pub table: Arc<SimTable>,
    /// The table's name in troubles.
    pub name: &'static str,
    /// The owner's epoch.
    pub epoch: Epoch,
    /// Batches in flight.
    pub window: usize,
    /// When the last of them is through.
    pub last: Mutex<Option<Instant>>,
}

impl Sink for SimTableSink {
    fn window(&self) -> usize {
        self.window
    }

    async fn submit(&mut self, batch: Arc<Batch>) -> Completion {
        self.world.trouble.maybe_panic(self.name);
        let poison = batch.records.iter().any(|r| r.dead.is_none() && Poison::of(&r.payload) == Poison::TablePanic);
        assert!(!poison, "injected: a record that the table cannot take");
        let at = {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            through(&mut last, self.world.trouble.delay())
        };
        let (world, table, name, epoch) = (self.world.clone(), self.table.clone(), self.name, self.epoch);
        async move {
            sleep_until(at).await;
            if world.trouble.is_down(name) || world.trouble.fails(name) {
                return retry("injected: the table is away");
            }
            let answer = table.apply(&batch, epoch);
            world.trouble.note(|| {
                let numbers: Vec<_> = batch.records.iter().map(|r| r.position.map_or(-1, |p| p.offset)).collect();
                format!("{name}/{} {numbers:?} behind {:?}: {answer:?}", batch.partition, batch.previous)
            });
            if matches!(answer, Submitted::Delivered) {
                world.trouble.maybe_panic(name);
                if world.trouble.loses_answer(name) {
                    return retry("injected: the answer is lost");
                }
            }
            answer
        }
        .boxed()
    }

    async fn resume(&mut self, partition: Partition) -> Result<Option<Cursor>, StageError> {
        if self.world.trouble.is_down(self.name) || self.world.trouble.fails(self.name) {
            let (reason, detail) = (Reason("unavailable"), "injected".to_owned());
            return Err(StageError::Retry { reason, detail, after: None });
        }
        self.world.trouble.maybe_panic(self.name);
        let cursor = self.table.cursor(partition);
        self.world.trouble.note(|| format!("{}/{partition} resumes behind {cursor:?}", self.name));
        Ok(Some(cursor))
    }
}

fn retry(detail: &str) -> Submitted {
    Submitted::Retry { reason: Reason("unavailable"), detail: detail.to_owned(), after: None }
}
