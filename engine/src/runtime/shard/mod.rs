//! The shard: the actor that hosts the keyed state of one partition.
//!
//! It owns the sessions of its partition as plain values ([`table`], and a [`crate::runtime::KeyedHost`] a stage), one
//! timing wheel, and the partition's checkpoint. Records are stepped one at a time, in the order of the log; a
//! session's panic is caught at the session ([`step`]). What this gives up: a session that spins holds up its shard.
//!
//! Acknowledgements: the guards of what the shard has taken in are resolved when a checkpoint that covers it is
//! written, and a checkpoint is written only when everything made of it was delivered ([`checkpoint`]). A shard that
//! fails is not restarted with what it had in hand: it lets go of everything, the source reads the partition again,
//! and a new shard starts from the checkpoint ([`restore`]).

mod checkpoint;
mod clock;
mod codec;
mod group;
mod outbox;
mod passive;
mod restore;
mod step;
mod table;
mod wheel;

use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use tokio::time::Instant;

use crate::batch::Batch;
use crate::clock::Timestamp;
use crate::device_id::DeviceId;
use crate::faults;
use crate::metrics::StageTime;
use crate::record::{Kind, Reason, Record};
use crate::stage::Outlet;

use super::ack_book::{AckBook, Outstanding};
use super::cell::{Cell, ExitReason, StageCommon};
use super::mailbox::{Delivery, Mailbox};
use super::outlet::Wires;

use checkpoint::Checkpointer;
use clock::{LogClock, Mark};
use passive::Passive;
use step::{At, Sessions};

#[cfg(any(test, fuzzing, feature = "testing"))]
pub(crate) use codec::holds as session_form_holds;

pub use clock::TimeMode;
pub use group::{Group, GroupStage};
pub use restore::OpenError;

/// How often a shard looks after its sessions when nothing comes: wall-clock timers, passivation.
const HOUSEKEEPING: Duration = Duration::from_millis(250);

/// How many records may wait behind one that is tried again before the shard takes no more.
const MAX_UNSENT: usize = 4096;

/// A shard at work.
pub struct ShardCell {
    mailbox: Mailbox,
    group: Group,
    sessions: Sessions,
    wires: Vec<Wires>,
    clock: LogClock,
    /// The batches that the shard has sent and that are not acknowledged to it yet.
    sent: AckBook,
    flushes: u64,
    checkpointer: Checkpointer,
    passive: Passive,
    /// Of the sessions that this shard writes.
    layout: restore::Layout,
}

impl ShardCell {
    /// To wait for what it sends, even when it is gone.
    pub(super) fn sent(&self) -> Outstanding {
        self.sent.watch()
    }

    async fn run(&mut self) -> ExitReason {
        loop {
            let now = Instant::now();
            self.sessions.retry_due(now);
            self.tally();
            self.flush().await;
            if let Err(exit) = self.advance_checkpoint().await {
                return exit;
            }
            let ended = self.mailbox.is_finished() && self.sessions.retries.is_empty();
            if ended && self.checkpointer.is_settled() {
                self.close();
                return ExitReason::Drained;
            }
            let since = Instant::now();
            let retry_at = self.sessions.retries.first().map_or(now + HOUSEKEEPING, |(at, _)| *at);
            let accepting = self.checkpointer.accepts(!self.sessions.retries.is_empty())
                && self.sessions.unsent() < MAX_UNSENT
                && !self.mailbox.is_finished();
            let wake_at = retry_at.min(now + HOUSEKEEPING).min(self.checkpointer.next_look(now));
            let delivery = tokio::select! {
                biased;
                () = self.checkpointer.progress() => None,
                () = self.sent.changed() => None,
                delivery = self.mailbox.receive(), if accepting => delivery,
                () = tokio::time::sleep_until(wake_at) => {
                    self.housekeeping();
                    None
                }
            };
            self.entry_metrics().spent(StageTime::Idle, since.elapsed());
            if let Some(delivery) = delivery {
                let started = Instant::now();
                if let Err(exit) = self.take(delivery).await {
                    return exit;
                }
                self.entry_metrics().spent(StageTime::Busy, started.elapsed());
                self.entry_metrics().duration(started.elapsed());
            }
        }
    }

    /// One batch of the partition.
    async fn take(&mut self, delivery: Delivery) -> Result<(), ExitReason> {
        let Delivery { batch, room } = delivery;
        let Batch { records, guards, .. } = batch;
        self.entry_metrics().batch(records.len());
        self.bring_back(&records).await?;
        let slots = self.sessions.look_up(&records);
        let removals = self.sessions.table.removals();
        for (record, slot) in records.into_iter().zip(slots) {
            // The slot may have been given to another device of the batch meanwhile.
            let slot = slot.filter(|_| self.sessions.table.removals() == removals);
            self.record(&mut Some(record), slot)?;
        }
        self.tally();
        self.flush().await;
        self.checkpointer.took(guards);
        self.passivate();
        drop(room);
        Ok(())
    }

    /// Takes the record out of its place where nobody needs it afterwards: it is large, and moved as rarely as can be.
    fn record(&mut self, place: &mut Option<Record>, slot: Option<u32>) -> Result<(), ExitReason> {
        let Some(record) = place.as_ref() else { return Ok(()) };
        if record.position.is_some_and(|position| self.sessions.cursor.has_passed(&position)) {
            // The checkpoint has it: read again only because something else needed it.
            return Ok(());
        }
        if record.kind == Kind::Mark {
            self.sessions.advance(record.position);
            if let Ok(mark) = serde_json::from_slice::<Mark>(&record.payload) {
                self.clock.mark(&mark);
                self.sessions.last_mark = record.position;
                self.sessions.fire_timers(At { cause: record.position, ..self.at(record.received_at) });
            }
            return Ok(());
        }
        self.clock.record(record.received_at);
        self.sessions.fire_timers(self.at(record.received_at));
        let turn = self.sessions.next_turn();
        let at = At { cause: record.position, turn, ..self.at(record.received_at) };
        self.sessions.advance(record.position);
        if !self.clock.follows_marks() {
            self.sessions.last_mark = record.position;
        }
        let slot = match slot.or_else(|| self.sessions.table.find(&record.device)) {
            Some(slot) => slot,
            None => self.open_session(&record.device, at)?,
        };
        self.sessions.record(slot, place, at);
        Ok(())
    }

    /// A session for a device that has none in memory.
    fn open_session(&mut self, device: &DeviceId, at: At) -> Result<u32, ExitReason> {
        // It may have had to make room for another device of the same batch.
        let slot = match self.come_back(device)? {
            Some(slot) => slot,
            None => self.sessions.open(device, at),
        };
        let sessions = self.sessions.directory.session_opened();
        if sessions > self.group.limits.max_sessions {
            self.evict(slot);
        }
        Ok(slot)
    }

    /// Sends what the steps have made; it counts for the next checkpoint as not delivered until it is.
    async fn flush(&mut self) {
        let held_up = self.sessions.held_up();
        if self.sessions.given_up.is_empty() && !self.sessions.may_send(held_up) {
            return;
        }
        faults::point("shard.before_flush");
        self.flushes += 1;
        let guard = self.sent.enter(0, self.flushes);
        let partition = self.checkpointer.partition();
        for (stage, wires) in self.sessions.stages.iter_mut().zip(&mut self.wires) {
            for (outlet, out) in stage.out.iter_mut().enumerate() {
                let records = out.take(held_up);
                if !records.is_empty() {
                    wires.send_made(Outlet(outlet as u8), partition, records, guard.clone().into()).await;
                }
            }
        }
        if !self.sessions.given_up.is_empty() {
            let records = std::mem::take(&mut self.sessions.given_up);
            let common = &self.group.stages[0].common;
            common.dead_letters.bury(records, guard.clone().into()).await;
        }
        guard.delivered();
        faults::point("shard.flushed");
    }

    fn tally(&mut self) {
        for stage in &mut self.sessions.stages {
            let tally = std::mem::take(&mut stage.tally);
            let metrics = &stage.spec.common.metrics;
            if tally.received > 0 {
                metrics.received(tally.received);
            }
            if tally.forwarded > 0 {
                metrics.forwarded(tally.forwarded);
            }
            if tally.absorbed > 0 {
                metrics.absorbed(tally.absorbed);
            }
            for (reason, count) in tally.dropped {
                metrics.dropped(reason, count);
            }
        }
    }

    fn housekeeping(&mut self) {
        // Time that is in the log moves with the log alone: else a replay would not repeat it.
        if self.clock.moves_by_itself() {
            self.clock.idle();
            self.sessions.fire_timers(self.at(self.wall()));
        }
        self.tally();
        self.passivate();
    }

    fn wall(&self) -> Timestamp {
        self.group.stages[0].common.cx.clock.now()
    }

    /// Now, on the shard's time; what has no cause of its own is put down to the last mark.
    fn at(&self, wall: Timestamp) -> At {
        At { log: self.clock.now(), wall, cause: self.sessions.last_mark, turn: 0 }
    }

    fn entry_metrics(&self) -> &crate::metrics::StageMetrics {
        &self.group.stages[0].common.metrics
    }

    /// The partition is given up: its devices are no longer ours to show.
    fn close(&mut self) {
        for (_, slot) in self.sessions.table.occupied() {
            self.sessions.directory.hide(&slot.device());
        }
        self.passive.hashes().for_each(|hash| self.sessions.directory.not_passivated(hash));
    }
}

impl Drop for ShardCell {
    fn drop(&mut self) {
        self.count_returned(SHARD_ENDED);
        self.sessions.directory.sessions_closed(self.sessions.table.len());
        self.mailbox.close();
    }
}

impl Cell for ShardCell {
    fn run(&mut self) -> BoxFuture<'_, ExitReason> {
        ShardCell::run(self).boxed()
    }

    fn common(&self) -> &StageCommon {
        &self.group.stages[0].common
    }

    fn panicked(&mut self, _: &str) {}
}

/// Why records that wait in an inbox are given back.
const SHARD_ENDED: Reason = Reason("shard_ended");
