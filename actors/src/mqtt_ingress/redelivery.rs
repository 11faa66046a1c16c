//! What a slot has produced lately, to know a redelivered PUBLISH when it comes.
//!
//! A broker that resumes a session sends again what was not acknowledged, with the DUP flag. The flag alone proves
//! nothing: it is also set on messages that never got out of a socket. So a PUBLISH is taken as already produced only by
//! the rule of `docs/formats.md`, "MQTT sessions and redelivery": DUP is set, the session was resumed, packet ids come
//! in a cycle, and the same id and hash were produced by this slot-session within its last 2 × `max_inflight`
//! productions. All else is produced again; a repetition can be removed later, a loss cannot.
//!
//! Why the window is safe: ids come round after 65,535 messages, the window is half of that at most, so within it an id
//! stands for one message. What is still in flight is recognised however long ago it was given out: the broker cannot
//! have used its id for anything else, because it was never acknowledged.
//!
//! Pure: no clock, no I/O.

use crate::mqtt::PacketIds;

/// The productions of one slot-session, numbered from 1 in the order in which they were handed out.
///
/// Acknowledgements come in that order too, so one number, the last that is safe, divides them into those produced and
/// those in flight.
#[derive(Debug)]
pub(super) struct RedeliveryTable {
    /// The last production under each packet id; none where ids say nothing.
    by_packet: Option<Box<[Production]>>,
    window: u64,
    last: u64,
    produced: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Production {
    /// 0: there was none.
    delivery: u64,
    hash: u64,
}

/// What a redelivered PUBLISH turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// It is on its way as this delivery, whose outcome will be its own.
    InFlight(u64),
    /// It is where it belongs.
    Produced,
}

impl RedeliveryTable {
    /// A table for a broker as declared.
    pub(super) fn new(packet_ids: PacketIds, max_inflight: u16) -> Self {
        const PACKET_IDS: usize = 1 << 16;
        let cyclic = packet_ids == PacketIds::Cyclic;
        RedeliveryTable {
            by_packet: cyclic.then(|| vec![Production::default(); PACKET_IDS].into()),
            window: 2 * u64::from(max_inflight),
            last: 0,
            produced: 0,
        }
    }

    /// A new slot-session: nothing was produced in it.
    pub(super) fn begin(&mut self) {
        (self.last, self.produced) = (0, 0);
        self.forget(|_| true);
    }

    /// Numbers a production. Packet id 0 stands for a message that has none and is never redelivered.
    pub(super) fn produce(&mut self, packet_id: u16, hash: u64) -> u64 {
        self.last += 1;
        self.note(packet_id, Production { delivery: self.last, hash });
        self.last
    }

    /// Whether a PUBLISH with the DUP flag on a resumed session is one of these productions. Without the flag, or on a
    /// session that was not resumed, it is none.
    pub(super) fn recognise(&self, packet_id: u16, hash: u64) -> Option<Known> {
        let known = self.by_packet.as_ref()?[usize::from(packet_id)];
        if known.delivery == 0 || known.hash != hash {
            return None;
        }
        if known.delivery > self.produced {
            return Some(Known::InFlight(known.delivery));
        }
        (known.delivery + self.window > self.last).then_some(Known::Produced)
    }

    /// All productions up to this one are safe.
    pub(super) fn acknowledge(&mut self, delivery: u64) {
        self.produced = self.produced.max(delivery.min(self.last));
    }

    /// The productions from `first` on were never handed to anybody: they are no productions, and their numbers are
    /// free again.
    pub(super) fn take_back(&mut self, first: u64) {
        self.last = self.last.min(first.saturating_sub(1));
        self.forget(|delivery| delivery >= first);
    }

    /// Takes up what was read back from the log: (delivery, packet id, hash) of productions that are safe, and the
    /// highest delivery ever seen there. To be called before anything is produced.
    pub(super) fn recall(&mut self, mut safe: Vec<(u64, u16, u64)>, highest: u64) {
        safe.sort_unstable();
        for (delivery, packet_id, hash) in safe {
            self.note(packet_id, Production { delivery, hash });
        }
        self.last = self.last.max(highest);
        self.produced = self.last;
    }

    fn note(&mut self, packet_id: u16, production: Production) {
        if let Some(by_packet) = self.by_packet.as_mut().filter(|_| packet_id != 0) {
            let entry = &mut by_packet[usize::from(packet_id)];
            if entry.delivery < production.delivery {
                *entry = production;
            }
        }
    }

    fn forget(&mut self, which: impl Fn(u64) -> bool) {
        for entry in self.by_packet.iter_mut().flatten() {
            if which(entry.delivery) {
                *entry = Production::default();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cyclic(max_inflight: u16) -> RedeliveryTable {
        RedeliveryTable::new(PacketIds::Cyclic, max_inflight)
    }

    #[test]
    fn id_and_hash_must_both_be_the_same() {
        let mut table = cyclic(10);
        assert_eq!(table.produce(7, 70), 1);
        table.acknowledge(1);
        let check = |id, hash, expect| assert_eq!(table.recognise(id, hash), expect);
        check(7, 70, Some(Known::Produced));
        check(7, 71, None);
        check(8, 70, None);
        check(0, 0, None);
    }

    #[test]
    fn what_is_not_acknowledged_is_in_flight() {
        let mut table = cyclic(10);
        for id in 1..=3 {
            table.produce(id, u64::from(id) * 10);
        }
        table.acknowledge(2);
        assert_eq!(table.recognise(2, 20), Some(Known::Produced));
        assert_eq!(table.recognise(3, 30), Some(Known::InFlight(3)));
        table.acknowledge(99);
        assert_eq!(table.produce(4, 40), 4);
        assert_eq!(table.recognise(4, 40), Some(Known::InFlight(4)), "nothing is safe before it is produced");
    }

    #[test]
    fn the_window_is_twice_max_inflight_productions() {
        let mut table = cyclic(5);
        for id in 1..=11 {
            table.produce(id, 1);
        }
        table.acknowledge(10);
        assert_eq!(table.recognise(1, 1), None, "eleven productions ago");
        assert_eq!(table.recognise(2, 1), Some(Known::Produced), "ten productions ago");
        let mut table = cyclic(5);
        for id in 1..=11 {
            table.produce(id, 1);
        }
        assert_eq!(table.recognise(1, 1), Some(Known::InFlight(1)), "in flight, it is known for as long as it takes");
    }

    #[test]
    fn messages_without_a_packet_id_count_and_are_not_recognised() {
        let mut table = cyclic(1);
        table.produce(1, 1);
        table.acknowledge(1);
        assert_eq!(table.produce(0, 1), 2);
        assert_eq!(table.recognise(0, 1), None);
        assert_eq!(table.recognise(1, 1), Some(Known::Produced));
        table.produce(0, 1);
        assert_eq!(table.recognise(1, 1), None, "it is no longer among the last two productions");
    }

    #[test]
    fn unknown_packet_ids_are_never_recognised_but_productions_are_numbered() {
        let mut table = RedeliveryTable::new(PacketIds::Unknown, 10);
        assert_eq!((table.produce(1, 1), table.produce(2, 2)), (1, 2));
        assert_eq!(table.recognise(1, 1), None);
        table.recall(vec![(9, 9, 9)], 9);
        assert_eq!((table.produce(3, 3), table.recognise(9, 9)), (10, None));
    }

    #[test]
    fn a_new_session_knows_nothing_of_the_old_one() {
        let mut table = cyclic(10);
        table.produce(1, 1);
        table.begin();
        assert_eq!(table.recognise(1, 1), None);
        assert_eq!(table.produce(1, 1), 1);
    }

    #[test]
    fn what_was_never_handed_out_is_produced_when_it_comes_again() {
        let mut table = cyclic(10);
        for id in 1..=4 {
            table.produce(id, 1);
        }
        table.take_back(3);
        assert_eq!(table.recognise(2, 1), Some(Known::InFlight(2)));
        assert_eq!((table.recognise(3, 1), table.recognise(4, 1)), (None, None));
        assert_eq!(table.produce(4, 1), 3, "numbers have no holes");
        assert_eq!(table.recognise(3, 1), None);
    }

    #[test]
    fn what_was_recalled_is_safe_and_numbers_go_on_behind_it() {
        let mut table = cyclic(10);
        table.recall(vec![(7, 3, 30), (5, 1, 10)], 9);
        assert_eq!(table.recognise(3, 30), Some(Known::Produced));
        assert_eq!(table.recognise(1, 10), Some(Known::Produced));
        assert_eq!(table.recognise(2, 20), None, "nobody has the sixth");
        assert_eq!(table.produce(2, 20), 10);
    }

    #[test]
    fn of_two_recalled_productions_under_one_id_the_newer_counts() {
        let mut table = cyclic(100);
        table.recall(vec![(12, 5, 120), (3, 5, 30)], 14);
        assert_eq!(table.recognise(5, 120), Some(Known::Produced));
        assert_eq!(table.recognise(5, 30), None);
        assert_eq!(table.produce(6, 1), 15);
    }

    /// A broker with cyclic ids and a window, and an ingress that loses its connection at any moment: the table must
    /// take a redelivered message as known exactly when it was handed out, and as safe exactly when it was acknowledged.
    #[derive(Debug, Clone)]
    enum Step {
        Deliver(u8),
        HandOut(u8),
        Acknowledge(u8),
        Reconnect,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (1u8..20).prop_map(Step::Deliver),
            4 => (1u8..20).prop_map(Step::HandOut),
            4 => (1u8..20).prop_map(Step::Acknowledge),
            1 => Just(Step::Reconnect),
        ]
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_nothing_in_flight_is_doubled(
            steps in proptest::collection::vec(step(), 1..200),
            max_inflight in 1u16..30,
            hashes in 1u64..4,
        ) {
            let mut table = cyclic(max_inflight);
            let mut sent = 0u64; // messages the broker has ever sent; message n has id n % 65535 + 1
            let message = |n: u64| ((n % 65_535 + 1) as u16, n % hashes);
            let mut unacked: Vec<u64> = vec![]; // at the broker
            let mut queue: Vec<(u64, u64)> = vec![]; // (message, delivery) not handed out
            let mut flying: Vec<(u64, u64)> = vec![];
            let mut safe: Vec<u64> = vec![];

            for step in steps {
                match step {
                    Step::Deliver(count) => for _ in 0..count {
                        if unacked.len() < usize::from(max_inflight) {
                            let (id, hash) = message(sent);
                            queue.push((sent, table.produce(id, hash)));
                            unacked.push(sent);
                            sent += 1;
                        }
                    },
                    Step::HandOut(count) => {
                        let count = queue.len().min(count.into());
                        flying.extend(queue.drain(..count));
                    }
                    Step::Acknowledge(count) => {
                        let count = flying.len().min(count.into());
                        for (n, delivery) in flying.drain(..count) {
                            table.acknowledge(delivery);
                            safe.push(n);
                            unacked.retain(|u| *u != n);
                        }
                    }
                    Step::Reconnect => {
                        if let Some((_, first)) = queue.first() {
                            table.take_back(*first);
                        }
                        queue.clear();
                        // The PUBACKs of the last `lost` safe messages may not have arrived: they come again as well.
                        let lost = safe.len().saturating_sub(2);
                        let mut again: Vec<u64> = safe[lost..].to_vec();
                        again.extend(&unacked);
                        again.sort_unstable();
                        again.dedup();
                        for n in again {
                            let (id, hash) = message(n);
                            let known = table.recognise(id, hash);
                            let flies = flying.iter().find(|(m, _)| *m == n);
                            match (known, flies, safe.contains(&n)) {
                                (Some(Known::InFlight(d)), Some((_, delivery)), false) => prop_assert_eq!(d, *delivery),
                                (Some(Known::Produced), None, true) => {}
                                (None, None, false) => queue.push((n, table.produce(id, hash))),
                                // Outside the window it may be forgotten; it must never be confused.
                                (None, None, true) => {}
                                (known, flies, safe) => prop_assert!(false, "{n}: {known:?} {flies:?} {safe}"),
                            }
                        }
                    }
                }
            }
        }
    }
}
