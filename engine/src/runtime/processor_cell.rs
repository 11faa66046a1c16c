//! The actor of a processor.
//!
//! Record by record, with a savepoint before each: a panic or a refusal at record *k* keeps what 1…k−1 emitted and goes
//! on at *k* with a rebuilt component. What the batch has emitted leaves in one go at its end, each outlet's records as
//! one batch with a share of the guards.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt};
use tokio::time::Instant;

use crate::batch::Batch;
use crate::erased::{DynProcessor, Progress};
use crate::metrics::StageTime;
use crate::record::Reason;
use crate::registry::Factory;
use crate::stage::{Outlet, Outlets, StageError};

use super::cell::{Cell, ExitReason, StageCommon};
use super::dead_letters::dead;
use super::mailbox::{Delivery, Mailbox};
use super::outlet::Wires;
use super::status::StageState;

/// A processor's part that survives its actor.
pub struct ProcessorCell {
    common: StageCommon,
    factory: Arc<dyn Factory<Box<dyn DynProcessor>>>,
    mailbox: Mailbox,
    wires: Wires,
    hand: Option<Hand>,
    out: Outlets,
}

/// The batch in hand.
struct Hand {
    delivery: Delivery,
    progress: Progress,
    /// The records in it that were given up before.
    given_up: Vec<usize>,
    attempts: u32,
    /// The component has it: a panic is the record's. Not so while the component is built.
    is_at_work: bool,
    taken_at: Instant,
}

impl Hand {
    /// The record at the cursor is dead.
    fn step_over(&mut self) {
        self.progress.done += 1;
        self.progress.dead += 1;
        self.attempts = 0;
    }
}

impl ProcessorCell {
    /// A processor between a mailbox and wires.
    pub fn new(
        common: StageCommon,
        factory: Arc<dyn Factory<Box<dyn DynProcessor>>>,
        mailbox: Mailbox,
        wires: Wires,
    ) -> Self {
        ProcessorCell { common, factory, mailbox, wires, hand: None, out: Outlets::default() }
    }

    async fn run(&mut self) -> ExitReason {
        let factory = self.factory.clone();
        let built = match self.hand.is_none() {
            true => self.common.build_unless_finished(&*factory, &self.mailbox).await,
            false => self.common.build(&*factory).await,
        };
        let mut component = match built {
            Ok(component) => component,
            Err(exit) => {
                if exit == ExitReason::Drained {
                    self.wires.disconnect();
                }
                return exit;
            }
        };
        loop {
            if self.hand.is_none() {
                let since = Instant::now();
                let Some(delivery) = self.mailbox.receive().await else {
                    self.wires.disconnect();
                    return ExitReason::Drained;
                };
                self.common.metrics.spent(StageTime::Idle, since.elapsed());
                self.common.metrics.received(delivery.batch.len());
                self.common.metrics.batch(delivery.batch.len());
                self.wires.follow(&delivery.batch);
                self.hand = Some(self.take(delivery));
            }
            if let Err(exit) = self.work(&mut component).await {
                return exit;
            }
            self.hand_on().await;
        }
    }

    fn take(&self, delivery: Delivery) -> Hand {
        let records = delivery.batch.records.iter().enumerate();
        let given_up = records.filter(|(_, record)| self.common.gave_up_before(record)).map(|(index, _)| index);
        Hand {
            given_up: given_up.collect(),
            delivery,
            progress: Progress::default(),
            attempts: 0,
            is_at_work: false,
            taken_at: Instant::now(),
        }
    }

    /// Brings the batch in hand to its end.
    async fn work(&mut self, component: &mut Box<dyn DynProcessor>) -> Result<(), ExitReason> {
        let mut backoff = self.common.backoff();
        loop {
            let Some(hand) = &mut self.hand else { return Ok(()) };
            let records = &hand.delivery.batch.records;
            let at = hand.progress.done;
            let given_up = hand.given_up.iter().copied().find(|index| *index >= at);
            let upto = given_up.unwrap_or(records.len());
            hand.is_at_work = true;
            let result = component.run(&records[..upto], &mut hand.progress, &mut self.out).await;
            hand.is_at_work = false;
            let Err(error) = result else {
                if given_up.is_none() {
                    return Ok(());
                }
                hand.step_over();
                continue;
            };
            self.out.roll_back();
            if hand.progress.done > at {
                hand.attempts = 0;
                backoff.reset();
            }
            match error {
                StageError::Fatal(why) => return Err(ExitReason::Failed(why)),
                StageError::Retry { reason, detail, after } => {
                    self.common.wait(&mut backoff, reason, &detail, after).await;
                    self.common.status.set(StageState::Running);
                }
                StageError::Reject { reason, detail, permanent } => {
                    hand.attempts += 1;
                    if permanent || hand.attempts >= self.common.limits.max_attempts {
                        self.give_up(reason, &detail).await;
                    } else {
                        self.common.pause(&mut backoff, reason, &detail, None).await;
                    }
                }
            }
        }
    }

    /// Gives the record at the cursor to the dead letters and steps over it.
    async fn give_up(&mut self, reason: Reason, detail: &str) {
        let Some(hand) = &mut self.hand else { return };
        let Some(record) = hand.delivery.batch.records.get(hand.progress.done) else { return };
        let record = dead(record, &self.common.cx.stage, reason, detail, hand.attempts);
        let guards = hand.delivery.batch.guards.share();
        self.common.metrics.dead_lettered(reason);
        hand.step_over();
        self.common.dead_letters.bury(vec![record], guards).await;
    }

    async fn hand_on(&mut self) {
        let Some(hand) = self.hand.take() else { return };
        let Batch { partition, records, guards, .. } = hand.delivery.batch;
        self.common.metrics.absorbed(hand.progress.absorbed);
        self.common.metrics.forwarded(records.len() - hand.progress.absorbed - hand.progress.dead);
        let emitted = self.out.take();
        let took = hand.taken_at.elapsed();
        self.common.metrics.spent(StageTime::Busy, took);
        self.common.metrics.duration(took);
        let mut by_outlet: Vec<(Outlet, Vec<_>)> = Vec::new();
        for (outlet, record) in emitted {
            match by_outlet.iter_mut().find(|(o, _)| *o == outlet) {
                Some((_, records)) => records.push(record),
                None => by_outlet.push((outlet, vec![record])),
            }
        }
        for (outlet, records) in by_outlet {
            self.wires.send_made(outlet, partition, records, guards.share()).await;
        }
        guards.delivered();
        drop(hand.delivery.room);
    }
}

impl Cell for ProcessorCell {
    fn run(&mut self) -> BoxFuture<'_, ExitReason> {
        async move {
            if let Some(message) = self.hand.as_mut().and_then(|h| h.progress.panicked.take()) {
                let used = self.hand.as_ref().map_or(0, |h| h.attempts);
                if used >= self.common.limits.max_attempts {
                    self.give_up(Reason::PANIC, &message).await;
                }
            }
            ProcessorCell::run(self).await
        }
        .boxed()
    }

    fn common(&self) -> &StageCommon {
        &self.common
    }

    fn panicked(&mut self, message: &str) {
        self.out.roll_back();
        if let Some(hand) = self.hand.as_mut().filter(|hand| hand.is_at_work) {
            hand.is_at_work = false;
            if hand.progress.done != hand.progress.failed_at {
                hand.attempts = 0;
            }
            hand.progress.failed_at = hand.progress.done;
            hand.attempts += 1;
            hand.progress.panicked = Some(message.to_owned());
        }
    }
}
