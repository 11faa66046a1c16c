//! What a sink's actor does with records that are refused: another try, a search for the one at fault, the dead letters.

use std::collections::HashSet;
use std::sync::Arc;

use crate::ack::Guards;
use crate::batch::Batch;
use crate::faults;
use crate::record::{Reason, Record};
use crate::retry::Backoff;
use crate::runtime::cell::{ExitReason, StageCommon};
use crate::runtime::dead_letters::{dead, shortened};
use crate::runtime::flight::{Flight, FlightState};
use crate::sink::{Rejection, Submitted};

use super::SinkCell;

impl SinkCell {
    /// Some records of the oldest batch are at fault.
    pub(super) async fn rejected(
        &mut self,
        rejections: Vec<Rejection>,
        others_applied: bool,
        backoff: &mut Backoff,
    ) -> Result<(), ExitReason> {
        self.land().await;
        let StageCommon { limits, dead_letters, cx, metrics, .. } = self.common.clone();
        let flight = &mut self.flights[0];
        let (mut given_up, mut shorter_letters) = (Vec::new(), Vec::new());
        let mut retry = None;
        for rejection in &rejections {
            let attempts = flight.attempt(rejection.index);
            let Some(record) = flight.batch.records.get(rejection.index) else { continue };
            if dead_letters.exist() && (rejection.permanent || attempts >= limits.max_attempts) {
                let record = dead(record, &cx.stage, rejection.reason, &rejection.detail, attempts);
                given_up.push((rejection.index, record));
            } else if rejection.permanent
                && rejection.reason == Reason::TOO_LARGE
                && let Some(shorter) = shortened(record)
            {
                shorter_letters.push((rejection.index, shorter));
            } else {
                retry = Some((rejection.reason, rejection.detail.clone()));
            }
        }
        if !given_up.is_empty() {
            faults::point("sink.before_burial");
            let buried = dead_letters.bury_and_wait(given_up.iter().map(|(_, r)| r.clone()).collect()).await;
            if !buried {
                return Err(ExitReason::Failed("the dead letters let go of a record".to_owned()));
            }
            faults::point("sink.buried");
        }
        let flight = &mut self.flights[0];
        let mut records = flight.batch.records.clone();
        for (index, record) in given_up {
            metrics.dead_lettered(record.dead.as_ref().map_or(Reason::PANIC, |d| d.reason));
            records[index] = record;
        }
        shorter_letters.into_iter().for_each(|(index, letter)| records[index] = letter);
        if others_applied {
            // What was applied is done; only the refused that are to be tried again are left in the batch.
            let refused: HashSet<usize> = rejections.iter().map(|r| r.index).collect();
            let before = records.len();
            let live = |r: &Record| r.dead.is_none() || !dead_letters.exist();
            metrics.forwarded(records.iter().enumerate().filter(|(i, r)| live(r) && !refused.contains(i)).count());
            let mut index = 0;
            records.retain(|r| {
                index += 1;
                refused.contains(&(index - 1)) && live(r)
            });
            let attempts =
                rejections.iter().map(|r| flight.attempts.iter().find(|(i, _)| *i == r.index).map_or(1, |a| a.1));
            flight.attempts =
                attempts.max().into_iter().flat_map(|a| (0..records.len()).map(move |i| (i, a))).collect();
            debug_assert!(records.len() < before || rejections.len() == before, "only refused records are left");
        }
        let nothing_left = others_applied && records.is_empty();
        let previous = flight.batch.previous.clone();
        flight.batch = Arc::new(Batch { partition: flight.batch.partition, records, previous, guards: Guards::none() });
        if let Some((reason, detail)) = retry {
            self.common.pause(backoff, reason, &detail, None).await;
        }
        self.flights[0].state = match nothing_left {
            true => FlightState::Answered(Submitted::Delivered),
            false => FlightState::Waiting,
        };
        self.submit_again();
        Ok(())
    }

    /// Cuts the oldest batch in two, to be submitted one after the other.
    pub(super) fn bisect(&mut self) {
        let Some(flight) = self.flights.pop_front() else { return };
        let mut first = Batch {
            partition: flight.batch.partition,
            records: flight.batch.records.clone(),
            previous: flight.batch.previous.clone(),
            guards: flight.guards,
        };
        let middle = first.len() / 2;
        let mut second = first.split_off(middle);
        let part = |batch: &mut Batch, attempts| Flight {
            guards: std::mem::take(&mut batch.guards),
            batch: Arc::new(Batch {
                partition: batch.partition,
                records: std::mem::take(&mut batch.records),
                previous: batch.previous.clone(),
                guards: Guards::none(),
            }),
            _room: flight._room.clone(),
            taken_at: flight.taken_at,
            attempts,
            panics: 0,
            at_fault: false,
            bisecting: true,
            state: FlightState::Waiting,
        };
        let (before, behind): (Vec<_>, Vec<_>) = flight.attempts.iter().partition(|(index, _)| *index < middle);
        let behind = behind.into_iter().map(|(index, attempts)| (index - middle, attempts)).collect();
        let (first, second) = (part(&mut first, before), part(&mut second, behind));
        self.flights.push_front(second);
        self.flights.push_front(first);
        self.submit_again();
    }
}
