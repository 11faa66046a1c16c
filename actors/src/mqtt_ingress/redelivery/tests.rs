use proptest::prelude::*;

use super::*;

fn cyclic() -> RedeliveryTable {
    RedeliveryTable::new(PacketIds::Cyclic)
}

/// A message comes and is produced.
fn take(table: &mut RedeliveryTable, packet_id: u16, hash: u64) -> u64 {
    table.arrive(packet_id);
    table.produce(packet_id, hash)
}

/// A message comes with the DUP flag.
fn again(table: &mut RedeliveryTable, packet_id: u16, hash: u64) -> Option<Known> {
    table.arrive(packet_id);
    table.recognise(packet_id, hash)
}

#[test]
fn id_and_hash_must_both_be_the_same() {
    let mut table = cyclic();
    assert_eq!(take(&mut table, 7, 70), 1);
    table.acknowledge(1);
    let mut check = |id, hash, expect| assert_eq!(again(&mut table, id, hash), expect);
    check(7, 70, Some(Known::Produced));
    check(7, 71, None);
    check(8, 70, None);
    check(0, 0, None);
}

#[test]
fn what_is_not_acknowledged_is_in_flight() {
    let mut table = cyclic();
    for id in 1..=3 {
        take(&mut table, id, u64::from(id) * 10);
    }
    table.acknowledge(2);
    assert_eq!(again(&mut table, 2, 20), Some(Known::Produced));
    assert_eq!(again(&mut table, 3, 30), Some(Known::InFlight(3)));
    table.acknowledge(99);
    assert_eq!(take(&mut table, 4, 40), 4);
    assert_eq!(again(&mut table, 4, 40), Some(Known::InFlight(4)), "nothing is safe before it is produced");
}

#[test]
fn an_id_that_comes_round_again_stands_for_another_message() {
    let mut table = cyclic();
    let ids = |from: u32, count: u32| (from..from + count).map(|n| (n % 65_535 + 1) as u16);
    for id in ids(0, 1000) {
        take(&mut table, id, 1);
    }
    table.acknowledge(1000);
    // The broker has sent a whole cycle more, of which nothing arrived before the cut; the same readings all the time.
    for id in ids(0, 1000) {
        assert_eq!(again(&mut table, id, 1), Some(Known::Produced));
    }
    for id in ids(1000, 65_535) {
        assert_eq!(again(&mut table, id, 1), None, "packet id {id}");
    }
    assert_eq!(again(&mut table, 1001, 1), None);
}

#[test]
fn half_a_cycle_may_come_again() {
    let ids = || (60_000..60_000 + RECALLED as u32).map(|n| (n % 65_535 + 1) as u16);
    let mut table = cyclic();
    table.arrive(60_000);
    let safe: Vec<_> = (1..).zip(ids()).map(|(delivery, id)| (delivery, id, 1)).collect();
    for id in ids() {
        take(&mut table, id, 1);
    }
    table.acknowledge(RECALLED as u64);
    let mut recalled = cyclic();
    recalled.recall(safe, RECALLED as u64);
    for table in [&mut table, &mut recalled] {
        for id in ids() {
            assert_eq!(again(table, id, 1), Some(Known::Produced), "packet id {id}");
        }
    }
}

#[test]
fn messages_without_a_packet_id_are_numbered_and_not_recognised() {
    let mut table = cyclic();
    take(&mut table, 1, 1);
    table.acknowledge(1);
    assert_eq!(take(&mut table, 0, 1), 2);
    assert_eq!(again(&mut table, 0, 1), None);
    assert_eq!(again(&mut table, 1, 1), Some(Known::Produced));
}

#[test]
fn unknown_packet_ids_are_never_recognised_but_productions_are_numbered() {
    let mut table = RedeliveryTable::new(PacketIds::Unknown);
    assert_eq!((take(&mut table, 1, 1), take(&mut table, 2, 2)), (1, 2));
    assert_eq!(again(&mut table, 1, 1), None);
    table.recall(vec![(9, 9, 9)], 9);
    assert_eq!((take(&mut table, 3, 3), again(&mut table, 9, 9)), (10, None));
}

#[test]
fn a_new_session_knows_nothing_of_the_old_one() {
    let mut table = cyclic();
    take(&mut table, 1, 1);
    table.begin();
    assert_eq!(again(&mut table, 1, 1), None);
    assert_eq!(table.produce(1, 1), 1);
}

#[test]
fn what_was_never_handed_out_is_produced_when_it_comes_again() {
    let mut table = cyclic();
    for id in 1..=4 {
        take(&mut table, id, 1);
    }
    table.take_back(3);
    assert_eq!(again(&mut table, 2, 1), Some(Known::InFlight(2)));
    assert_eq!((again(&mut table, 3, 1), again(&mut table, 4, 1)), (None, None));
    assert_eq!(table.produce(4, 1), 3, "numbers have no holes");
    assert_eq!(again(&mut table, 3, 1), None);
}

#[test]
fn what_was_recalled_is_safe_and_numbers_go_on_behind_it() {
    let mut table = cyclic();
    table.recall(vec![(7, 3, 30), (5, 1, 10)], 9);
    assert_eq!(again(&mut table, 1, 10), Some(Known::Produced));
    assert_eq!(again(&mut table, 2, 20), None, "nobody has the sixth");
    assert_eq!(table.produce(2, 20), 10);
    assert_eq!(again(&mut table, 3, 30), Some(Known::Produced));
}

/// What the ingress has of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Has {
    Nothing,
    Queued,
    Flying(u64),
    Safe(u64),
    /// Safe, and so many productions ago that a restart did not recall it.
    Forgotten,
}

/// A broker with cyclic ids, whatever its window, and an ingress that loses its connection or its life at any moment.
struct World {
    table: RedeliveryTable,
    hashes: u64,
    /// Every message that was ever received.
    messages: Vec<Has>,
    /// Not handed out, in order, and handed out and not safe.
    queue: Vec<(usize, u64)>,
    flying: Vec<(usize, u64)>,
    /// The broker has looked at the acknowledgements of all messages before this one.
    oldest: usize,
}

/// How many messages may come again: with a margin below the half cycle for what is numbered twice.
const REACH: usize = 16_000;

impl World {
    fn message(&self, n: usize) -> (u16, u64) {
        ((n % 65_535 + 1) as u16, n as u64 % self.hashes)
    }

    fn unsafe_from(&self) -> usize {
        let first = self.messages[self.oldest..].iter().position(|has| !matches!(has, Has::Safe(_) | Has::Forgotten));
        first.map_or(self.messages.len(), |at| self.oldest + at)
    }

    fn produce(&mut self, n: usize) {
        let (id, hash) = self.message(n);
        let delivery = self.table.produce(id, hash);
        self.messages[n] = Has::Queued;
        self.queue.push((n, delivery));
    }

    fn deliver(&mut self, count: usize) {
        self.oldest = self.oldest.max(self.messages.len().saturating_sub(REACH)).min(self.unsafe_from());
        for _ in 0..count.min(REACH.saturating_sub(self.messages.len() - self.oldest)) {
            let n = self.messages.len();
            self.messages.push(Has::Nothing);
            self.table.arrive(self.message(n).0);
            self.produce(n);
        }
    }

    fn hand_out(&mut self, count: usize) {
        for (n, delivery) in self.queue.drain(..count.min(self.queue.len())) {
            self.messages[n] = Has::Flying(delivery);
            self.flying.push((n, delivery));
        }
    }

    fn acknowledge(&mut self, count: usize) {
        for (n, delivery) in self.flying.drain(..count.min(self.flying.len())) {
            self.table.acknowledge(delivery);
            self.messages[n] = Has::Safe(delivery);
        }
    }

    /// The connection is cut: what was not handed out is dropped.
    fn cut(&mut self) {
        if let Some((_, first)) = self.queue.first() {
            self.table.take_back(*first);
        }
        for (n, _) in self.queue.drain(..) {
            self.messages[n] = Has::Nothing;
        }
    }

    /// The process dies: of what was on its way some arrived.
    fn die(&mut self) {
        self.cut();
        for (n, delivery) in self.flying.drain(..) {
            self.messages[n] = if n % 3 == 0 { Has::Safe(delivery) } else { Has::Nothing };
        }
        let safe = self.messages.iter().enumerate().filter_map(|(n, has)| match has {
            Has::Safe(delivery) => Some((*delivery, self.message(n).0, self.message(n).1)),
            _ => None,
        });
        let mut safe: Vec<_> = safe.collect();
        safe.sort_unstable_by_key(|(delivery, ..)| std::cmp::Reverse(*delivery));
        safe.truncate(RECALLED);
        let highest = safe.first().map_or(0, |(delivery, ..)| *delivery);
        let oldest =
            safe.last().map_or(0, |(delivery, ..)| *delivery).max((highest + 1).saturating_sub(RECALLED as u64));
        for has in &mut self.messages {
            if matches!(has, Has::Safe(delivery) if *delivery < oldest) {
                *has = Has::Forgotten;
            }
        }
        self.table = cyclic();
        self.table.recall(safe, highest);
    }

    /// The broker sends again what it has no acknowledgement for, and as much more that never got out of its socket.
    fn resume(&mut self, unread_acks: usize, in_the_socket: usize) -> Result<(), TestCaseError> {
        self.oldest = self.oldest.max(self.unsafe_from().saturating_sub(unread_acks));
        for n in self.oldest..self.messages.len() + in_the_socket {
            if n == self.messages.len() {
                self.messages.push(Has::Nothing);
            }
            let (id, hash) = self.message(n);
            let known = again(&mut self.table, id, hash);
            match self.messages[n] {
                // What was forgotten comes twice, and is not lost.
                Has::Nothing | Has::Queued | Has::Forgotten => {
                    prop_assert_eq!(known, None, "message {}", n);
                    self.produce(n);
                }
                Has::Flying(delivery) => prop_assert_eq!(known, Some(Known::InFlight(delivery)), "message {}", n),
                Has::Safe(_) => prop_assert_eq!(known, Some(Known::Produced), "message {}", n),
            }
        }
        Ok(())
    }
}

#[derive(Debug, Clone)]
enum Step {
    Deliver(usize),
    HandOut(usize),
    Acknowledge(usize),
    Cut { dies: bool, unread_acks: usize, in_the_socket: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let count = || prop_oneof![1usize..20, 1000usize..20_000];
    let cut = (any::<bool>(), count(), prop_oneof![2 => Just(0usize), 2 => 1usize..100, 1 => 30_000usize..70_000]);
    prop_oneof![
        4 => count().prop_map(Step::Deliver),
        4 => count().prop_map(Step::HandOut),
        4 => count().prop_map(Step::Acknowledge),
        2 => cut.prop_map(|(dies, unread_acks, in_the_socket)| Step::Cut { dies, unread_acks, in_the_socket }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_message_is_known_exactly_when_it_was_produced(
        steps in proptest::collection::vec(step(), 1..40),
        hashes in 1u64..4,
    ) {
        let (table, messages, queue, flying) = (cyclic(), vec![], vec![], vec![]);
        let mut world = World { table, hashes, messages, queue, flying, oldest: 0 };
        for step in steps {
            match step {
                Step::Deliver(count) => world.deliver(count),
                Step::HandOut(count) => world.hand_out(count),
                Step::Acknowledge(count) => world.acknowledge(count),
                Step::Cut { dies, unread_acks, in_the_socket } => {
                    if dies { world.die() } else { world.cut() }
                    world.resume(unread_acks.min(REACH), in_the_socket)?;
                    // The engine takes in only so much that is not safe.
                    world.hand_out(usize::MAX);
                    world.acknowledge(world.flying.len().saturating_sub(REACH));
                }
            }
        }
    }
}
