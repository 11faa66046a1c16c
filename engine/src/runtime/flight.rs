//! A batch on its way through a sink, and what is known of it.

use std::any::Any;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;

use futures_util::FutureExt;
use tokio::time::Instant;

use crate::ack::Guards;
use crate::batch::Batch;
use crate::sink::{Completion, Submitted};

use super::mailbox::Room;

/// A batch that is being written.
pub(super) struct Flight {
    /// Without its guards, which stay in `guards`: the sink's copy must not hold an acknowledgement back.
    pub(super) batch: Arc<Batch>,
    pub(super) guards: Guards,
    pub(super) _room: Vec<Arc<Room>>,
    pub(super) taken_at: Instant,
    /// How often the sink refused a record, by index.
    pub(super) attempts: Vec<(usize, u32)>,
    /// How often the sink panicked while it had this batch.
    pub(super) panics: u32,
    /// The last panic came out of this batch.
    pub(super) at_fault: bool,
    /// Part of a batch that has used its attempts: the search for the record at fault is one attempt more, whatever it
    /// takes.
    pub(super) bisecting: bool,
    pub(super) state: FlightState,
}

pub(super) enum FlightState {
    /// To be submitted.
    Waiting,
    /// Submitted.
    Submitted(Completion),
    /// Answered.
    Answered(Submitted),
    /// The sink panicked instead of answering.
    Panicked(Box<dyn Any + Send>),
}

impl Flight {
    /// Takes the answer that a sink which is gone had given, if it had. Its last word is no answer: a batch that it only
    /// gave up with itself is submitted again.
    pub(super) fn hear(&mut self) {
        let FlightState::Submitted(completion) = &mut self.state else { return };
        // Unwind safety: a completion that panics is not polled again.
        match catch_unwind(AssertUnwindSafe(|| completion.now_or_never())) {
            Ok(Some(answer)) if !matches!(answer, Submitted::Fatal(_)) => self.state = FlightState::Answered(answer),
            Ok(None) => {}
            Ok(Some(_)) | Err(_) => self.state = FlightState::Waiting,
        }
    }

    /// Whether all of it is written.
    pub(super) fn is_delivered(&self) -> bool {
        matches!(self.state, FlightState::Answered(Submitted::Delivered))
    }

    /// Whether the sink has said what of it was applied: all, or all but the records that it names.
    pub(super) fn is_applied(&self) -> bool {
        let FlightState::Answered(answer) = &self.state else { return false };
        matches!(answer, Submitted::Delivered | Submitted::Rejected { others_applied: true, .. })
    }

    /// Whether its end is known, or that of one try.
    pub(super) fn is_answered(&self) -> bool {
        matches!(self.state, FlightState::Answered(_) | FlightState::Panicked(_))
    }

    pub(super) fn attempt(&mut self, index: usize) -> u32 {
        match self.attempts.iter_mut().find(|(i, _)| *i == index) {
            Some((_, attempts)) => {
                *attempts += 1;
                *attempts
            }
            None => {
                self.attempts.push((index, 1));
                1
            }
        }
    }
}

/// Waits until the batch at `index` is answered, driving all that are submitted.
pub(super) async fn answered(flights: &mut VecDeque<Flight>, index: usize) {
    poll_fn(|cx| {
        for flight in flights.iter_mut() {
            if let FlightState::Submitted(completion) = &mut flight.state {
                // Unwind safety: a completion that panicked is not polled again, nor its sink used.
                match catch_unwind(AssertUnwindSafe(|| completion.poll_unpin(cx))) {
                    Ok(Poll::Pending) => {}
                    Ok(Poll::Ready(answer)) => flight.state = FlightState::Answered(answer),
                    Err(panic) => flight.state = FlightState::Panicked(panic),
                }
            }
        }
        match flights.get(index) {
            Some(Flight { state: FlightState::Submitted(_), .. }) => Poll::Pending,
            _ => Poll::Ready(()),
        }
    })
    .await;
}
