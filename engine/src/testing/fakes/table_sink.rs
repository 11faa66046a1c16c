//! A sink over a guarded table, several batches in flight.

use std::sync::Arc;

use futures_util::FutureExt;
use tokio::time::{Instant, sleep, sleep_until};

use crate::batch::Batch;
use crate::context::BuildContext;
use crate::position::{Cursor, Epoch, Partition};
use crate::record::Reason;
use crate::sink::{Completion, Sink, Submitted};
use crate::stage::StageError;
use crate::testing::number_of;
use crate::testing::world::{Poison, SimTable, World};

use super::router::through;

/// Writes to a [`SimTable`].
pub struct SimTableSink {
    world: Arc<World>,
    table: Arc<SimTable>,
    name: &'static str,
    stage: Arc<str>,
    epoch: Epoch,
    window: usize,
    /// When the last batch is through.
    last: Option<Instant>,
    /// Held by the one that is being written.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl SimTableSink {
    /// A sink to `table`, which is `name` in the world's troubles; `window` batches in flight.
    pub fn new(
        world: &Arc<World>,
        table: &Arc<SimTable>,
        name: &'static str,
        cx: &BuildContext,
        window: usize,
    ) -> Self {
        let (world, table, stage, epoch) = (world.clone(), table.clone(), cx.stage.clone(), cx.epoch);
        SimTableSink { world, table, name, stage, epoch, window, last: None, turn: Arc::default() }
    }
}

impl Sink for SimTableSink {
    fn window(&self) -> usize {
        self.window
    }

    async fn submit(&mut self, batch: Arc<Batch>) -> Completion {
        self.world.trouble.maybe_panic(self.name);
        let poison = batch.records.iter().any(|r| r.dead.is_none() && Poison::of(&r.payload) == Poison::TablePanic);
        assert!(!poison, "injected: a record that the table cannot take");
        let at = through(&mut self.last, self.world.trouble.delay());
        let (world, table, name, epoch) = (self.world.clone(), self.table.clone(), self.name, self.epoch);
        let (turn, stage) = (self.turn.clone(), self.stage.clone());
        async move {
            sleep_until(at).await;
            let writing = turn.lock().await;
            if world.trouble.is_down(name) || world.trouble.fails(name) {
                return retry("injected: the table is away");
            }
            world.trouble.step().await;
            let answer = table.apply_mended(
                &batch,
                epoch,
                |record| world.is_mended(record),
                |record| {
                    if world.letters.had(&stage, record, epoch) {
                        let number = number_of(record);
                        world.trouble.violation(format!("{stage} applied {number}, which it had given up"));
                    }
                },
            );
            world.trouble.note(|| {
                let numbers: Vec<_> = batch.records.iter().map(|r| r.position.map_or(-1, |p| p.offset)).collect();
                format!("{name}/{} {numbers:?} behind {:?}: {answer:?}", batch.partition, batch.previous)
            });
            drop(writing);
            sleep(world.trouble.delay()).await;
            world.trouble.step().await;
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
        self.world.trouble.step().await;
        let opened = self.table.open(partition, self.epoch);
        let cursor = opened.map_err(|by| StageError::Fatal(format!("fenced: {} by {by}", self.epoch)))?;
        self.world.trouble.note(|| format!("{}/{partition} resumes behind {cursor:?}", self.name));
        Ok(Some(cursor))
    }
}

fn retry(detail: &str) -> Submitted {
    Submitted::Retry { reason: Reason("unavailable"), detail: detail.to_owned(), after: None }
}
