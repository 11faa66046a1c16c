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
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    packet_id: u16,
    running_id: u64,
    delivery: u64,
}

impl AckLedger {
    /// A PUBLISH came, with this running id (`redelivery`), and waits for `delivery`. Without a packet id there is
    /// nothing to acknowledge.
    pub(super) fn push(&mut self, packet_id: u16, running_id: u64, delivery: u64) {
        if packet_id != 0 {
            self.waiting.push_back(Waiting { packet_id, running_id, delivery });
        }
    }

    /// The packet ids that may be acknowledged now that all deliveries up to `safe` are safe.
    pub(super) fn release(&mut self, safe: u64) -> impl Iterator<Item = u16> {
        let count = self.waiting.iter().take_while(|waiting| waiting.delivery <= safe).count();
        self.waiting.drain(..count).map(|waiting| waiting.packet_id)
    }

    /// The running id of the oldest PUBLISH that waits.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.waiting.front().map(|waiting| waiting.running_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_overtakes() {
        let mut ledger = AckLedger::default();
        for (packet_id, delivery) in [(1, 1), (0, 2), (2, 3), (3, AT_ONCE), (4, 1), (5, 4), (6, AT_ONCE)] {
            ledger.push(packet_id, packet_id.into(), delivery);
        }
        let mut check = |safe, expect: &[u16]| assert_eq!(ledger.release(safe).collect::<Vec<_>>(), expect);
        check(0, &[]);
        check(2, &[1]);
        check(3, &[2, 3, 4]);
        check(3, &[]);
        check(4, &[5, 6]);
    }

    #[test]
    fn the_oldest_is_named_for_as_long_as_it_waits() {
        let mut ledger = AckLedger::default();
        assert_eq!(ledger.oldest(), None);
        ledger.push(1, 65_536, 1);
        ledger.push(2, 65_537, 2);
        assert_eq!(ledger.oldest(), Some(65_536));
        assert_eq!(ledger.release(1).count(), 1);
        assert_eq!(ledger.oldest(), Some(65_537));
        assert_eq!(ledger.release(2).count(), 1);
        assert_eq!(ledger.oldest(), None);
    }
}
