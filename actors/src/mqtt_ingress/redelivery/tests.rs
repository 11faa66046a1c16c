use super::*;

mod model;

fn cyclic() -> RedeliveryTable {
    RedeliveryTable::new(PacketIds::Cyclic)
}

/// A message comes and is produced; its running id.
fn take(table: &mut RedeliveryTable, packet_id: u16, hash: u64) -> u64 {
    let running_id = table.arrive(packet_id, false);
    table.produce(packet_id, hash);
    running_id
}

/// A message comes with the DUP flag.
fn again(table: &mut RedeliveryTable, packet_id: u16, hash: u64) -> Option<Known> {
    table.arrive(packet_id, true);
    table.recognise(packet_id, hash)
}

/// Packet ids in a row, over the end of the cycle.
fn ids(from: u32, count: u32) -> impl Iterator<Item = u16> {
    (from..from + count).map(|n| ((n - 1) % 65_535 + 1) as u16)
}

/// A table that has produced these ids, all with one hash, and was cut when the last of them was not acknowledged.
fn cut_behind(produced: impl Iterator<Item = u16>) -> RedeliveryTable {
    let mut table = cyclic();
    let last = produced.fold(0, |_, id| take(&mut table, id, 1));
    table.acknowledge(u64::MAX);
    table.disconnected(Some(last));
    table
}

#[test]
fn id_and_hash_must_both_be_the_same() {
    let check = |id, hash, expect| {
        let mut table = cut_behind(7..=9);
        assert_eq!(again(&mut table, id, hash), expect, "{id} {hash}");
    };
    check(7, 1, Some(Known::Produced));
    check(7, 2, None);
    check(10, 1, None);
    check(0, 0, None);
}

#[test]
fn what_is_not_acknowledged_is_in_flight() {
    let mut table = cyclic();
    let oldest = take(&mut table, 1, 10);
    take(&mut table, 2, 20);
    table.acknowledge(1);
    table.disconnected(Some(oldest));
    assert_eq!(again(&mut table, 1, 10), Some(Known::Produced));
    assert_eq!(again(&mut table, 2, 20), Some(Known::InFlight(2)));
    table.acknowledge(99);
    let owed = take(&mut table, 3, 30);
    table.disconnected(Some(owed));
    assert_eq!(again(&mut table, 3, 30), Some(Known::InFlight(3)), "nothing is safe before it is produced");
}

#[test]
fn a_message_without_dup_is_ahead_of_all_whatever_its_id() {
    let mut table = cut_behind(1..=100);
    // A killed broker gives out 51 again; cut before it is read, the next one has the DUP flag.
    for id in 40..=50 {
        assert_eq!(again(&mut table, id, 1), Some(Known::Produced));
    }
    let owed = take(&mut table, 51, 1);
    table.disconnected(Some(owed));
    assert!(again(&mut table, 51, 1).is_some());
    assert_eq!(again(&mut table, 52, 1), None);
}

#[test]
fn only_what_came_on_the_connection_before_is_known() {
    let mut table = cut_behind(1..=100);
    assert!(again(&mut table, 99, 1).is_some());
    let owed = table.at;
    table.disconnected(Some(owed));
    assert!(again(&mut table, 99, 1).is_some());
    assert_eq!(again(&mut table, 100, 1), None, "it may be another one by now");
}

#[test]
fn behind_a_connection_of_which_nothing_was_seen_nothing_is_known() {
    let mut table = cut_behind(1..=3);
    table.disconnected(None);
    assert_eq!(again(&mut table, 3, 1), None);
}

#[test]
fn when_all_was_acknowledged_the_first_may_be_one_that_was_never_read() {
    let mut table = cut_behind(1..=100);
    table.owed = None;
    assert_eq!(again(&mut table, 100, 1), None);
}

#[test]
fn however_many_ids_were_used_up_what_comes_behind_the_last_was_never_read() {
    let mut table = cut_behind(1..=100);
    for id in 98..=100 {
        assert!(again(&mut table, id, 1).is_some());
    }
    // The broker dropped 65,485 messages, and 65,534.
    assert_eq!(again(&mut table, 50, 1), None);
    assert_eq!(again(&mut table, 49, 1), None);
}

#[test]
fn an_id_that_comes_round_again_stands_for_another_message() {
    let mut table = cut_behind(ids(1, 1000));
    for id in ids(1, 1000) {
        assert_eq!(again(&mut table, id, 1), Some(Known::Produced));
    }
    for id in ids(1001, 65_535) {
        assert_eq!(again(&mut table, id, 1), None, "packet id {id}");
    }
    assert_eq!(again(&mut table, 1001, 1), None);
}

#[test]
fn half_a_cycle_may_come_again() {
    let ids = || ids(60_000, RECALLED as u32);
    let mut recalled = cyclic();
    recalled.recall((1..).zip(ids()).map(|(delivery, id)| (delivery, id, 1)).collect(), RECALLED as u64);
    for table in [&mut cut_behind(ids()), &mut recalled] {
        for id in ids() {
            assert_eq!(again(table, id, 1), Some(Known::Produced), "packet id {id}");
        }
    }
}

#[test]
fn messages_without_a_packet_id_are_numbered_and_not_recognised() {
    let mut table = cut_behind([1, 0, 2].into_iter());
    assert_eq!(again(&mut table, 0, 1), None);
    assert_eq!(again(&mut table, 1, 1), Some(Known::Produced));
    assert_eq!(again(&mut table, 2, 1), Some(Known::Produced));
    assert_eq!(table.produce(3, 1), 4);
}

#[test]
fn unknown_packet_ids_are_never_recognised_but_productions_are_numbered() {
    let mut table = RedeliveryTable::new(PacketIds::Unknown);
    table.recall(vec![(9, 9, 9)], 9);
    assert_eq!(again(&mut table, 9, 9), None);
    let owed = take(&mut table, 1, 1);
    table.disconnected(Some(owed));
    assert_eq!(again(&mut table, 1, 1), None);
    assert_eq!(table.produce(1, 1), 11);
}

#[test]
fn a_new_session_knows_nothing_of_the_old_one() {
    let mut table = cut_behind(1..=1);
    table.begin();
    assert_eq!(again(&mut table, 1, 1), None);
    assert_eq!(table.produce(1, 1), 1);
}

#[test]
fn what_was_never_handed_out_is_produced_when_it_comes_again() {
    let mut table = cyclic();
    let oldest = take(&mut table, 1, 1);
    (2..=4).for_each(|id| {
        take(&mut table, id, 1);
    });
    table.disconnected(Some(oldest));
    table.take_back(3);
    assert_eq!(again(&mut table, 1, 1), Some(Known::InFlight(1)));
    assert_eq!(again(&mut table, 2, 1), Some(Known::InFlight(2)));
    assert_eq!(again(&mut table, 3, 1), None);
    assert_eq!(table.produce(3, 1), 3, "numbers have no holes");
    assert_eq!(again(&mut table, 4, 1), None);
}

/// A table after a restart: these packet ids are in the log, in the order of their deliveries, 0 for one it lacks.
fn restarted(log: impl IntoIterator<Item = u16>) -> RedeliveryTable {
    let mut table = cyclic();
    let log: Vec<_> = (1..).zip(log).map(|(delivery, id)| (delivery, id, 1)).collect();
    table.recall(log.clone(), log.len() as u64);
    table
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

#[test]
fn what_lies_too_far_back_is_not_recalled() {
    let far = |highest| {
        let mut table = cyclic();
        table.recall(vec![(1, 1, 1), (2, 2, 1)], highest);
        (again(&mut table, 1, 1), again(&mut table, 2, 1))
    };
    assert_eq!(far(RECALLED as u64), (Some(Known::Produced), Some(Known::Produced)));
    assert_eq!(far(RECALLED as u64 + 1), (None, Some(Known::Produced)));
}

#[test]
fn what_was_missing_and_produced_late_has_its_old_place() {
    let mut table = restarted([1, 2, 0, 4, 5, 3, 6]);
    for id in 1..=6 {
        assert_eq!(again(&mut table, id, 1), Some(Known::Produced), "packet id {id}");
    }
    assert_eq!(again(&mut table, 7, 1), None);
}

#[test]
fn an_id_that_the_log_has_twice_was_given_out_again() {
    // The broker was killed behind 100, and had its session from a time when it had given out 50.
    let mut table = restarted((1..=100).chain(51..=60));
    assert_eq!(again(&mut table, 60, 1), Some(Known::Produced));
    assert_eq!(again(&mut table, 61, 1), None);
}
