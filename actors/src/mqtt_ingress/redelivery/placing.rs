//! Which running ids the productions had that a log still has.
//!
//! From one to the next in the order of their deliveries, the packet id goes on to the nearest: forward as a rule, back to
//! a message that was on its way in a crash, did not get into the log then, and was produced when it came again. Such a
//! one leaves a trace, a delivery that the log lacks where it belongs. A step back to anywhere else is none: the broker
//! used up more than half a cycle of ids, or was killed and gives ids out again. Then the message is ahead of all before
//! it, and they are too far back to be recognised.

use std::collections::BTreeMap;

use super::{CYCLE, ahead, back};

/// Finds the running ids, one production after the other.
#[derive(Debug)]
pub(super) struct Placing {
    at: u64,
    highest: u64,
    /// By running id: the delivery; of what was produced late, the one that it had at first, as far as that is known.
    placed: BTreeMap<u64, u64>,
}

impl Placing {
    /// Running ids begin behind `start`.
    pub(super) fn behind(start: u64) -> Self {
        Placing { at: start, highest: start, placed: BTreeMap::new() }
    }

    /// The running id of the next production.
    pub(super) fn place(&mut self, delivery: u64, packet_id: u16) -> u64 {
        let next = ahead(self.at, packet_id);
        let nearest = if next - self.at <= CYCLE / 2 { next } else { back(self.at, packet_id).unwrap_or(next) };
        let (running_id, stands_for) = match self.lacking(nearest) {
            _ if nearest > self.highest => (nearest, delivery),
            Some(lacking) => (nearest, lacking),
            None => (ahead(self.highest, packet_id), delivery),
        };
        self.placed.insert(running_id, stands_for);
        self.at = running_id;
        self.highest = self.highest.max(running_id);
        running_id
    }

    /// The first delivery that is lacking between the neighbours of a place.
    fn lacking(&self, running_id: u64) -> Option<u64> {
        let (_, below) = self.placed.range(..running_id).next_back()?;
        let (place, above) = self.placed.range(running_id..).next()?;
        (*place != running_id && below + 1 < *above).then_some(below + 1)
    }
}
