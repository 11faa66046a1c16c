//! The actor of a sink.
//!
//! It takes what is in the mailbox, up to `max_records` and a megabyte a batch, and keeps up to the sink's window of batches in flight.
//! It waits for more records only while a write is in flight: a quiet device is written at once, a flood in full
//! batches. Batches, guards and their room stay here until the sink has answered; whatever happens to the sink, they
//! are submitted again, in order.

use std::collections::{BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::batch::Batch;
use crate::erased::DynSink;
use crate::faults;
use crate::metrics::StageTime;
use crate::position::{Cursor, Partition};
use crate::record::Reason;
use crate::registry::Factory;
use crate::retry::Backoff;
use crate::sink::{Rejection, Submitted};
use crate::stage::StageError;

use super::cell::{Cell, ExitReason, StageCommon};
use super::dead_letters::dead;
use super::flight::{Flight, FlightState, answered};
use super::host::panic_message;
use super::mailbox::{Mailbox, Room};
use super::status::StageState;

mod refused;

/// The most that a batch weighs which holds more than one record: what a store answers late is sent again whole, and the
/// larger it is, the later it is answered.
const MAX_BYTES: usize = 1 << 20;
/// Why batches are let go of when their store has fallen behind.
const GAP: Reason = Reason("gap");
/// Why batches are let go of when their partition is about to be read anew.
const REASSIGNED: Reason = Reason("reassigned");

/// What others ask of a running sink.
pub enum SinkRequest {
    /// How far the store has come in a partition that is about to be read. What is still here of it belongs to an
    /// earlier assignment and is let go of.
    Resume {
        /// The partition.
        partition: Partition,
        /// `None`: the sink keeps no positions.
        reply: oneshot::Sender<Option<Cursor>>,
    },
}

/// A sink's part that survives its actor.
pub struct SinkCell {
    common: StageCommon,
    factory: Arc<dyn Factory<Box<dyn DynSink>>>,
    mailbox: Mailbox,
    requests: mpsc::Receiver<SinkRequest>,
    /// In order of submission.
    flights: VecDeque<Flight>,
    /// The end of a delivery that was larger than one batch may be; goes before the mailbox.
    rest: Option<(Batch, Arc<Room>)>,
    /// Partitions that are let go of until they are assigned anew, because the store fell behind.
    discarding: BTreeSet<Partition>,
    /// Up to when time was counted as busy: flights overlap, and no moment counts twice.
    busy_until: Instant,
}

impl SinkCell {
    /// A sink that takes from `mailbox` and answers `requests`.
    pub fn new(
        common: StageCommon,
        factory: Arc<dyn Factory<Box<dyn DynSink>>>,
        mailbox: Mailbox,
        requests: mpsc::Receiver<SinkRequest>,
    ) -> Self {
        let (flights, rest, discarding) = Default::default();
        let busy_until = Instant::now();
        SinkCell { common, factory, mailbox, requests, flights, rest, discarding, busy_until }
    }

    async fn run(&mut self) -> ExitReason {
        // Before the next sink is built, and decides by what the last one had answered: what it had answered is heard.
        for flight in &mut self.flights {
            flight.hear();
        }
        let factory = self.factory.clone();
        let built = match self.flights.is_empty() && self.rest.is_none() {
            true => self.common.build_unless_finished(&*factory, &self.mailbox).await,
            false => self.common.build(&*factory).await,
        };
        let mut sink = match built {
            Ok(sink) => sink,
            Err(exit) => return exit,
        };
        for flight in &mut self.flights {
            if matches!(flight.state, FlightState::Submitted(_) | FlightState::Panicked(_)) {
                flight.state = FlightState::Waiting;
            }
        }
        let mut backoff = self.common.backoff();
        loop {
            while self.flights.front().is_some_and(Flight::is_answered) {
                if let Err(exit) = self.settle(&mut sink, &mut backoff).await {
                    return exit;
                }
            }
            self.take(sink.window());
            self.submit(&mut sink).await;
            if self.flights.is_empty() && self.rest.is_none() && self.mailbox.is_finished() {
                sink.close().await;
                return ExitReason::Drained;
            }
            let idle_since = self.flights.is_empty().then(Instant::now);
            let room_for_more = self.flights.len() < sink.window();
            tokio::select! {
                biased;
                Some(request) = self.requests.recv() => {
                    if let Err(exit) = self.answer(&mut sink, request).await {
                        return exit;
                    }
                }
                () = answered(&mut self.flights, 0), if !self.flights.is_empty() => {}
                () = self.mailbox.changed(), if room_for_more => {}
            }
            if let Some(since) = idle_since {
                self.common.metrics.spent(StageTime::Idle, since.elapsed());
            }
        }
    }

    /// Submits what waits, as far as the window goes and never past a batch that did not get through.
    async fn submit(&mut self, sink: &mut Box<dyn DynSink>) {
        for flight in self.flights.iter_mut().take(sink.window().max(1)) {
            match flight.state {
                FlightState::Waiting => {}
                FlightState::Submitted(_) | FlightState::Answered(Submitted::Delivered) => continue,
                FlightState::Answered(_) | FlightState::Panicked(_) => return,
            }
            // Unwind safety: a sink that panicked is not used again.
            match AssertUnwindSafe(sink.submit(flight.batch.clone())).catch_unwind().await {
                Ok(completion) => flight.state = FlightState::Submitted(completion),
                Err(panic) => {
                    flight.state = FlightState::Panicked(panic);
                    return;
                }
            }
        }
    }

    /// The oldest batch made the sink panic: that ends the actor, unless it only tells where the record at fault is.
    async fn panicked_on_the_oldest(&mut self, sink: &mut Box<dyn DynSink>) -> Result<(), ExitReason> {
        let Some(flight) = self.flights.front_mut() else { return Ok(()) };
        match std::mem::replace(&mut flight.state, FlightState::Waiting) {
            FlightState::Panicked(panic) if flight.bisecting => {
                let detail = panic_message(panic.as_ref());
                flight.state = FlightState::Answered(Submitted::RejectedSomewhere { reason: Reason::PANIC, detail });
                self.land().await;
                for behind in self.flights.iter_mut().skip(1).filter(|f| !f.is_applied()) {
                    behind.state = FlightState::Waiting;
                }
                *sink = self.common.build(&*self.factory).await?;
                Ok(())
            }
            FlightState::Panicked(panic) => {
                flight.at_fault = true;
                resume_unwind(panic)
            }
            state => {
                flight.state = state;
                Ok(())
            }
        }
    }

    /// The records of a batch that the sink is to write: not those that are in the dead letters already, unless it is
    /// the dead letters.
    fn live(&self, batch: &Batch) -> usize {
        match self.common.dead_letters.exist() {
            true => batch.records.iter().filter(|r| r.dead.is_none()).count(),
            false => batch.len(),
        }
    }

    /// Takes batches in hand while there is room in the window and enough to make a write worth while: with nothing in
    /// flight, all that there is.
    fn take(&mut self, window: usize) {
        let max = self.common.limits.max_records;
        let nothing_in_flight = self.flights.is_empty();
        while self.flights.len() < window {
            let full = self.rest.is_some() || self.mailbox.queued_records() >= max;
            if !nothing_in_flight && !full {
                return;
            }
            let Some((mut batch, mut room)) = self.next_batch() else { return };
            if self.discarding.contains(&batch.partition) {
                self.common.metrics.received(batch.len());
                self.common.metrics.returned(GAP, batch.len());
                continue;
            }
            let (fit, mut weight) = batch.fit(MAX_BYTES);
            let fit = fit.min(max);
            if batch.len() > fit {
                self.rest = Some((batch.split_off(fit), room[0].clone()));
            }
            while self.rest.is_none() {
                let fits = |b: &Batch| b.partition == batch.partition;
                let small = |b: &Batch| fits(b) && batch.len() + b.len() <= max && weight + b.weight() <= MAX_BYTES;
                // The first of this partition decides: one behind it must not overtake it.
                let mut first = true;
                let next = self.mailbox.try_receive_if(|b| {
                    let take = first && small(b);
                    first &= !fits(b);
                    take
                });
                let Some(delivery) = next else { break };
                weight += delivery.batch.weight();
                batch.join(delivery.batch);
                room.push(Arc::new(delivery.room));
            }
            self.common.metrics.received(batch.len());
            self.common.metrics.batch(batch.len());
            if faults::mutant("leak_permit") {
                room.iter().cloned().for_each(std::mem::forget);
            }
            // A dead record is not written, and its position counts.
            for record in batch.records.iter_mut().filter(|record| self.common.gave_up_before(record)) {
                *record = dead(record, &self.common.cx.stage, Reason::GIVEN_UP, "its letter was read back", 0);
            }
            let guards = std::mem::take(&mut batch.guards);
            self.flights.push_back(Flight {
                batch: Arc::new(batch),
                guards,
                _room: room,
                taken_at: Instant::now(),
                attempts: Vec::new(),
                panics: 0,
                at_fault: false,
                bisecting: false,
                state: FlightState::Waiting,
            });
        }
    }

    fn next_batch(&mut self) -> Option<(Batch, Vec<Arc<Room>>)> {
        let rest = self.rest.take().map(|(batch, room)| (batch, vec![room]));
        rest.or_else(|| self.mailbox.try_receive().map(|d| (d.batch, vec![Arc::new(d.room)])))
    }

    /// Everything of which nothing is known to be applied is to be submitted again. An answer that says what was
    /// applied stays until its batch is the oldest and is settled.
    fn submit_again(&mut self) {
        for flight in self.flights.iter_mut().filter(|f| !f.is_applied()) {
            flight.state = FlightState::Waiting;
        }
    }

    /// Waits until nothing submitted is unanswered.
    async fn land(&mut self) {
        for index in 0..self.flights.len() {
            answered(&mut self.flights, index).await;
        }
    }

    /// Acts on the answer to the oldest batch.
    async fn settle(&mut self, sink: &mut Box<dyn DynSink>, backoff: &mut Backoff) -> Result<(), ExitReason> {
        self.panicked_on_the_oldest(sink).await?;
        let Some(Flight { state: FlightState::Answered(answer), batch, .. }) = self.flights.front() else {
            return Ok(());
        };
        let partition = batch.partition;
        faults::point("sink.answered");
        match answer.clone() {
            Submitted::Delivered => {
                self.delivered();
                self.common.goes_on(backoff);
                self.common.status.set(StageState::Running);
            }
            Submitted::Retry { reason, detail, after } => {
                self.land().await;
                self.common.wait(backoff, reason, &detail, after).await;
                self.submit_again();
            }
            Submitted::Fatal(why) => {
                self.submit_again();
                return Err(ExitReason::Failed(why));
            }
            Submitted::Gap { detail } => {
                tracing::warn!(code = "sink_gap", topology = %self.common.cx.topology, stage = %self.common.cx.stage, partition, detail, "the store is behind: reading again from where it stands");
                self.discarding.insert(partition);
                self.let_go(partition, GAP).await;
            }
            Submitted::Rejected { records, others_applied } => {
                self.rejected(records, others_applied, backoff).await?;
            }
            Submitted::RejectedSomewhere { reason, detail } => {
                let live = self.live(&self.flights[0].batch);
                if live > 1 {
                    self.land().await;
                    self.bisect();
                } else if live == 0 {
                    // Nobody is left to be at fault.
                    self.land().await;
                    self.common.wait(backoff, reason, &detail, None).await;
                    self.submit_again();
                } else {
                    let index = self.flights[0].batch.records.iter().position(|r| r.dead.is_none()).unwrap_or(0);
                    let one = Rejection { index, reason, detail, permanent: self.flights[0].bisecting };
                    self.rejected(vec![one], false, backoff).await?;
                }
            }
        }
        Ok(())
    }

    fn delivered(&mut self) {
        let Some(flight) = self.flights.pop_front() else { return };
        let metrics = &self.common.metrics;
        metrics.forwarded(self.live(&flight.batch));
        let took = flight.taken_at.elapsed();
        metrics.duration(took);
        metrics.spent(StageTime::Busy, self.busy_until.max(flight.taken_at).elapsed());
        self.busy_until = Instant::now();
        if let Some(oldest) = flight.batch.records.first() {
            metrics.end_to_end(self.common.cx.clock.now().since(oldest.received_at));
        }
        flight.guards.delivered();
    }

    /// Lets go of everything of a partition: queued, in hand and in flight. Batches of other partitions that the sink
    /// refused along with it are submitted again.
    async fn let_go(&mut self, partition: Partition, why: Reason) {
        self.land().await;
        let metrics = self.common.metrics.clone();
        let (gone, kept) = std::mem::take(&mut self.flights).into_iter().partition(|f| f.batch.partition == partition);
        self.flights = kept;
        let gone: VecDeque<Flight> = gone;
        for flight in gone {
            let live = self.live(&flight.batch);
            match flight.is_delivered() {
                true => {
                    metrics.forwarded(live);
                    flight.guards.delivered();
                }
                false => metrics.returned(why, live),
            }
        }
        if self.rest.as_ref().is_some_and(|(batch, _)| batch.partition == partition) {
            self.rest = None;
        }
        while let Some(delivery) = self.mailbox.try_receive_if(|b| b.partition == partition) {
            metrics.received(delivery.batch.len());
            metrics.returned(why, delivery.batch.len());
        }
    }

    async fn answer(&mut self, sink: &mut Box<dyn DynSink>, request: SinkRequest) -> Result<(), ExitReason> {
        let SinkRequest::Resume { partition, reply } = request;
        self.let_go(partition, REASSIGNED).await;
        self.discarding.remove(&partition);
        let mut backoff = self.common.backoff();
        let cursor = loop {
            match sink.resume(partition).await {
                Ok(cursor) => break cursor,
                Err(StageError::Retry { reason, detail, after }) => {
                    self.common.wait(&mut backoff, reason, &detail, after).await;
                }
                Err(other) => return Err(ExitReason::Failed(other.to_string())),
            }
        };
        self.common.status.set(StageState::Running);
        // The source may have gone meanwhile; it will ask again.
        let _ = reply.send(cursor);
        Ok(())
    }
}

impl Cell for SinkCell {
    fn run(&mut self) -> BoxFuture<'_, ExitReason> {
        SinkCell::run(self).boxed()
    }

    fn common(&self) -> &StageCommon {
        &self.common
    }

    fn panicked(&mut self, message: &str) {
        // Which record it was, the sink could not say: the batch is tried again, in halves once it has failed as often
        // as a record may.
        let limits = self.common.limits;
        let Some(front) = self.flights.iter_mut().find(|f| f.at_fault) else { return };
        let detail = message.to_owned();
        front.at_fault = false;
        front.panics += 1;
        if front.panics >= limits.max_attempts {
            front.state = FlightState::Answered(Submitted::RejectedSomewhere { reason: Reason::PANIC, detail });
        }
    }
}
