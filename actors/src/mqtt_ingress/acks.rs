//! PUBACKs in the order of the PUBLISHes.
//!
//! MQTT wants the acknowledgements of one connection in the order in which the messages came. Each PUBLISH waits here
//! for a delivery: its own, or that of the one it repeats, or none. Deliveries become safe in order, so one number
//! decides who may go, and nobody overtakes.
//!
//! A ledger belongs to one connection and goes with it. So an outcome that comes after a reconnect acknowledges nothing
//! on the new connection unless the broker has sent the message again: no packet id of an old connection is ever used.

use std::collections::VecDeque;

/// The delivery of a message that waits for nothing.
pub(super) const AT_ONCE: u64 = 0;

/// The PUBLISHes of one connection that are not acknowledged.
#[derive(Debug, Default)]
pub(super) struct AckLedger {
    waiting: VecDeque<(u16, u64)>,
    gone: u64,
}

impl AckLedger {
    /// A PUBLISH came and waits for `delivery`. Without a packet id there is nothing to acknowledge.
    pub(super) fn push(&mut self, packet_id: u16, delivery: u64) {
        if packet_id != 0 {
            self.waiting.push_back((packet_id, delivery));
        }
    }

    /// The packet ids that may be acknowledged now that all deliveries up to `safe` are safe.
    pub(super) fn release(&mut self, safe: u64) -> impl Iterator<Item = u16> {
        let count = self.waiting.iter().take_while(|(_, delivery)| *delivery <= safe).count();
        self.gone += count as u64;
        self.waiting.drain(..count).map(|(packet_id, _)| packet_id)
    }

    /// Names the oldest PUBLISH that waits: as long as it waits, the name stays the same.
    pub(super) fn oldest(&self) -> Option<u64> {
        (!self.waiting.is_empty()).then_some(self.gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_overtakes() {
        let mut ledger = AckLedger::default();
        for (packet_id, delivery) in [(1, 1), (0, 2), (2, 3), (3, AT_ONCE), (4, 1), (5, 4), (6, AT_ONCE)] {
            ledger.push(packet_id, delivery);
        }
        let mut check = |safe, expect: &[u16]| assert_eq!(ledger.release(safe).collect::<Vec<_>>(), expect);
        check(0, &[]);
        check(2, &[1]);
        check(3, &[2, 3, 4]);
        check(3, &[]);
        check(4, &[5, 6]);
    }

    #[test]
    fn the_oldest_has_a_name_for_as_long_as_it_waits() {
        let mut ledger = AckLedger::default();
        assert_eq!(ledger.oldest(), None);
        ledger.push(1, 1);
        let first = ledger.oldest();
        ledger.push(2, 2);
        assert_eq!(ledger.oldest(), first);
        assert_eq!(ledger.release(1).count(), 1);
        assert!(ledger.oldest().is_some() && ledger.oldest() != first);
    }
}
