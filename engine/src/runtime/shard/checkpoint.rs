//! When a shard writes a checkpoint, and what it resolves.
//!
//! ```text
//! Idle ── due, something to save ──▶ Asking ── the journals' ends ──▶ Ready ── no session backs off ──▶ snapshot
//!   ▲                                                                                                     │
//!   └── guards resolved ── Saving ◀── everything sent before the snapshot is delivered ── Delivering ◀────┘
//! ```
//!
//! The journals' ends are asked for before the snapshot, so that everything emitted behind it stands behind them. The
//! snapshot is taken between two batches and holds only what changed. Processing goes on meanwhile: only the
//! guards of what the snapshot covers wait. While a session backs off there is no snapshot, because a record in an inbox
//! is neither in the state nor anywhere else; intake stops until the inboxes are empty, which `max_attempts` bounds.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use tokio::time::Instant;

use crate::ack::Guards;
use crate::checkpoint::{CheckpointDelta, CheckpointMeta, Scope, StateStore, StoreError};
use crate::faults;
use crate::ports::{Journal, PortError};
use crate::position::{Epoch, Partition};
use crate::record::Reason;
use crate::retry::Backoff;
use crate::runtime::cell::ExitReason;

use super::forget::MAX_FORGOTTEN;
use super::table::Waiting;
use super::{ShardCell, codec};

/// The version of [`CheckpointMeta`].
pub(super) const META_VERSION: u16 = 1;

/// The batches that may wait for a checkpoint before the shard takes no more.
const MAX_UNSAVED: usize = 65_536;

pub(super) struct Checkpointer {
    pub(super) scope: Scope,
    pub(super) epoch: Epoch,
    pub(super) store: Arc<dyn StateStore>,
    journals: Vec<(String, Arc<dyn Journal>)>,
    every: Duration,
    due_at: Instant,
    /// Not before this, even when the shard is at its end: the journals did not answer.
    not_before: Instant,
    backoff: Backoff,
    /// Guards of what was taken in since the last snapshot.
    unsaved: Vec<Guards>,
    /// The number of the last snapshot.
    number: u64,
    /// The last flush whose output is delivered, with all before it.
    delivered: u64,
    phase: Phase,
}

enum Phase {
    Idle,
    Asking(BoxFuture<'static, Result<Vec<(String, i64)>, PortError>>),
    Ready(Vec<(String, i64)>),
    Delivering { delta: Box<CheckpointDelta>, flushed: u64, guards: Vec<Guards> },
    Saving { saved: BoxFuture<'static, Result<(), StoreError>>, guards: Vec<Guards> },
    Saved { result: Result<(), StoreError>, guards: Vec<Guards> },
}

impl Checkpointer {
    pub(super) fn new(
        (scope, number): (Scope, u64),
        epoch: Epoch,
        store: Arc<dyn StateStore>,
        journals: Vec<(String, Arc<dyn Journal>)>,
        every: Duration,
        backoff: Backoff,
    ) -> Self {
        let not_before = Instant::now();
        let due_at = not_before + every;
        let (unsaved, delivered, phase) = (Vec::new(), 0, Phase::Idle);
        Checkpointer {
            scope,
            epoch,
            store,
            journals,
            every,
            due_at,
            not_before,
            backoff,
            unsaved,
            number,
            delivered,
            phase,
        }
    }

    pub(super) fn partition(&self) -> Partition {
        self.scope.partition
    }

    /// Whether the checkpoint of this number is what this shard has last seen in the store, or written there. While one is
    /// being written it may be there or not.
    pub(super) fn knows(&self, stored: u64) -> bool {
        let is_writing = matches!(self.phase, Phase::Delivering { .. } | Phase::Saving { .. } | Phase::Saved { .. });
        stored == self.number || (is_writing && stored + 1 == self.number)
    }

    /// A batch was taken in and stepped.
    pub(super) fn took(&mut self, guards: Guards) {
        self.unsaved.push(guards);
    }

    /// Whether more may be taken in. `backing_off`: a session has something in its inbox.
    pub(super) fn accepts(&self, backing_off: bool) -> bool {
        let must_clear = backing_off && matches!(self.phase, Phase::Ready(_));
        !must_clear && self.unsaved.len() < MAX_UNSAVED
    }

    /// Whether everything that was taken in is saved.
    pub(super) fn is_settled(&self) -> bool {
        matches!(self.phase, Phase::Idle) && self.unsaved.is_empty()
    }

    /// When to look again at the latest.
    pub(super) fn next_look(&self, now: Instant) -> Instant {
        match self.phase {
            Phase::Idle if !self.unsaved.is_empty() => self.due_at.max(self.not_before).max(now),
            _ => now + self.every,
        }
    }

    /// Waits for the store or the journals, if one of them was asked.
    pub(super) async fn progress(&mut self) {
        poll_fn(|cx| {
            let next = match &mut self.phase {
                Phase::Asking(asked) => match asked.poll_unpin(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(ends)) => Phase::Ready(ends),
                    Poll::Ready(Err(error)) => {
                        tracing::warn!(code = "journal_unavailable", scope = %self.scope, %error, "cannot checkpoint yet");
                        self.not_before = Instant::now() + self.backoff.next_delay();
                        Phase::Idle
                    }
                },
                Phase::Saving { saved, guards } => match saved.poll_unpin(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(result) => Phase::Saved { result, guards: std::mem::take(guards) },
                },
                _ => return Poll::Pending,
            };
            self.phase = next;
            Poll::Ready(())
        })
        .await;
    }

    fn ask_journals(&self) -> BoxFuture<'static, Result<Vec<(String, i64)>, PortError>> {
        let (journals, partition) = (self.journals.clone(), self.scope.partition);
        async move {
            let mut ends = Vec::with_capacity(journals.len());
            for (stage, journal) in journals {
                ends.push((stage, journal.end(partition).await?));
            }
            Ok(ends)
        }
        .boxed()
    }

    /// Writes a delta, for as long as it takes.
    fn save(&self, delta: CheckpointDelta) -> BoxFuture<'static, Result<(), StoreError>> {
        let (scope, epoch, store, mut backoff) =
            (self.scope.clone(), self.epoch, self.store.clone(), self.backoff.clone());
        async move {
            faults::point("checkpoint.before_save");
            if faults::mutant("forget_checkpoint") {
                return Ok(());
            }
            loop {
                match store.save(&scope, epoch, &delta).await {
                    Err(StoreError::Unavailable(why)) => {
                        if backoff.failures() == 0 {
                            tracing::warn!(code = "checkpoint_retry", %scope, why, "cannot write the checkpoint; trying again");
                        }
                        tokio::time::sleep(backoff.next_delay()).await;
                    }
                    other => return other,
                }
            }
        }
        .boxed()
    }
}

impl ShardCell {
    /// Moves the checkpoint on as far as it goes without waiting.
    pub(super) async fn advance_checkpoint(&mut self) -> Result<(), ExitReason> {
        let settled = self.sent.settle();
        if !settled.let_go.is_empty() {
            return Err(ExitReason::Failed("a stage behind the shard let go of its records".to_owned()));
        }
        if let Some((_, flush)) = settled.delivered.last() {
            self.checkpointer.delivered = *flush;
        }
        loop {
            let checkpointer = &mut self.checkpointer;
            match std::mem::replace(&mut checkpointer.phase, Phase::Idle) {
                Phase::Idle => {
                    let now = Instant::now();
                    let full = self.forgotten.len() >= MAX_FORGOTTEN;
                    let due = now >= checkpointer.due_at || self.mailbox.is_finished() || full;
                    if checkpointer.unsaved.is_empty() || !due || now < checkpointer.not_before {
                        return Ok(());
                    }
                    checkpointer.phase = match checkpointer.journals.is_empty() {
                        true => Phase::Ready(Vec::new()),
                        false => Phase::Asking(checkpointer.ask_journals()),
                    };
                    if matches!(checkpointer.phase, Phase::Asking(_)) {
                        return Ok(());
                    }
                }
                Phase::Ready(journals) => {
                    if !self.sessions.retries.is_empty() {
                        checkpointer.phase = Phase::Ready(journals);
                        return Ok(());
                    }
                    faults::point("checkpoint.snapshot");
                    let guards = std::mem::take(&mut checkpointer.unsaved);
                    let delta = Box::new(self.snapshot(journals));
                    self.checkpointer.phase = Phase::Delivering { delta, flushed: self.flushes, guards };
                }
                Phase::Delivering { delta, flushed, guards } => {
                    if checkpointer.delivered < flushed {
                        checkpointer.phase = Phase::Delivering { delta, flushed, guards };
                        return Ok(());
                    }
                    checkpointer.phase = Phase::Saving { saved: checkpointer.save(*delta), guards };
                    return Ok(());
                }
                Phase::Saved { result: Ok(()), guards } => {
                    faults::point("checkpoint.saved");
                    guards.into_iter().for_each(Guards::delivered);
                    checkpointer.backoff.reset();
                    checkpointer.due_at = Instant::now() + checkpointer.every;
                    self.passive.saved();
                }
                Phase::Saved { result: Err(error @ StoreError::Fenced { .. }), .. } => {
                    return Err(ExitReason::Broken(error.to_string()));
                }
                Phase::Saved { result: Err(error), .. } => return Err(ExitReason::Failed(error.to_string())),
                waiting @ (Phase::Asking(_) | Phase::Saving { .. }) => {
                    checkpointer.phase = waiting;
                    return Ok(());
                }
            }
        }
    }

    /// Everything that changed since the last snapshot.
    pub(super) fn snapshot(&mut self, journals: Vec<(String, i64)>) -> CheckpointDelta {
        let sessions = &mut self.sessions;
        let mut scratch = Vec::new();
        let touched = sessions.table.take_touched();
        let mut live = Vec::with_capacity(touched.len());
        for slot in touched {
            let Some(entry) = sessions.table.get(slot) else { continue };
            let hosts = sessions.stages.iter().map(|s| &*s.host);
            live.push((entry.device(), codec::encode(entry.last_seen, slot, hosts, &mut scratch)));
        }
        self.checkpointer.number += 1;
        let from = |(stage, end): (String, i64)| {
            let offset = sessions.ahead.offset(&stage, end);
            (stage, offset)
        };
        let meta = CheckpointMeta {
            version: META_VERSION,
            number: self.checkpointer.number,
            cursor: sessions.cursor.clone(),
            log_time: self.clock.now(),
            marks: self.clock.marks(),
            last_mark: sessions.last_mark,
            journals: journals.into_iter().map(from).collect(),
            stages: sessions
                .stages
                .iter()
                .map(|s| (s.spec.common.cx.stage.to_string(), s.host.state_version()))
                .collect(),
            saved_at: self.group.stages[0].common.cx.clock.now(),
        };
        let forgotten = std::mem::take(&mut self.forgotten).into_iter().collect();
        CheckpointDelta { meta, live, passivated: self.passive.leave(), forgotten }
    }

    /// Counts what waits in inboxes as given back: the shard ends with it unresolved.
    pub(super) fn count_returned(&self, why: Reason) {
        for parked in self.sessions.table.inboxes().flat_map(|inbox| &inbox.queue) {
            if let (true, Waiting::Record(stage, _)) = (parked.counted, &parked.what) {
                self.sessions.stages[*stage].spec.common.metrics.returned(why, 1);
            }
        }
    }
}
