//! The acknowledging half of a log source.

use std::sync::Arc;

use crate::position::Partition;
use crate::source::{Acker, SourceError};
use crate::testing::checker;
use crate::testing::world::{Superseded, World};

use super::log_flow::LogFlow;
use super::log_source::GROUP;

/// Commits what is acknowledged, with the world's troubles.
pub struct Committer {
    pub(super) world: Arc<World>,
    pub(super) flow: Arc<LogFlow>,
}

/// What a member that was replaced hears.
pub(super) fn replaced(by: Superseded) -> SourceError {
    SourceError::Broken(format!("a member of epoch {} has the partitions now", by.by))
}

impl Committer {
    fn commit(&self, partition: Partition, next: [i64; 2]) -> Result<(), SourceError> {
        let (world, flow) = (&self.world, &self.flow);
        for ((_, id), next) in flow.topics.iter().zip(next).filter(|(_, next)| *next > 0) {
            checker::committed(world, *id, partition, next);
            world.log.commit(GROUP, (*id, partition), next, flow.epoch).map_err(replaced)?;
        }
        world.trouble.note(|| format!("source commits {partition} at {next:?}"));
        Ok(())
    }
}

impl Acker for Committer {
    async fn acknowledge(&mut self, batches: Vec<(Partition, u64)>) -> Result<(), SourceError> {
        let trouble = &self.world.trouble;
        tokio::time::sleep(trouble.delay()).await;
        trouble.maybe_panic("committer");
        if trouble.fails("committer") {
            return Err(SourceError::Unavailable("injected: the log is away".to_owned()));
        }
        for (partition, tag) in batches {
            trouble.step().await;
            let (open, was_lost) = {
                let mut inner = self.flow.lock();
                (inner.open.remove(&tag), inner.lost.remove(&tag))
            };
            let Some((_, next)) = open else {
                if !was_lost {
                    let what = "was acknowledged twice, or after it was let go of";
                    trouble.violation(format!("batch {tag} of {partition} {what}"));
                }
                continue;
            };
            if trouble.loses_answer("commit") {
                // Lost on its way there, with nobody told; or on its way back.
                match trouble.between(0, 1) {
                    0 => continue,
                    _ => self.commit(partition, next)?,
                }
                return Err(SourceError::Unavailable("injected: the answer to a commit is lost".to_owned()));
            }
            self.commit(partition, next)?;
        }
        trouble.step().await;
        Ok(())
    }

    async fn give_back(&mut self, partition: Partition, tag: u64) -> Result<(), SourceError> {
        self.world.trouble.note(|| format!("source has {tag} of {partition} back"));
        let mut inner = self.flow.lock();
        inner.open.retain(|_, (p, _)| *p != partition);
        // A partition that is not read is about to be assigned anyway.
        if inner.reading.remove(&partition).is_some() {
            inner.to_assign.insert(partition);
        }
        drop(inner);
        self.flow.wake.notify_one();
        Ok(())
    }

    async fn close(&mut self) -> Result<(), SourceError> {
        let open = self.flow.lock().open.len();
        if open > 0 {
            self.world.trouble.note(|| format!("source closes with {open} batches out"));
        }
        Ok(())
    }
}
