use super::*;
use tokio::sync::oneshot::error::TryRecvError;
use ulid::Ulid;

const DATA: usize = 0;
const HELLO: usize = 1;

fn ledger() -> Ledger {
    let target = |topic: &str| Target { topic: topic.to_owned(), partitions: 2 };
    Ledger::new(vec![target("iot-data"), target("iot-hello")], 2, Offsets::default())
}

fn begin(ledger: &mut Ledger) -> (BatchKey, oneshot::Receiver<Submitted>) {
    let (sender, receiver) = oneshot::channel();
    (ledger.begin(sender).unwrap(), receiver)
}

/// A batch of one run with this many records sent.
fn batch(ledger: &mut Ledger, sent: usize) -> (ItemKey, oneshot::Receiver<Submitted>) {
    let (key, answer) = begin(ledger);
    let run = ledger.open_run(key);
    ledger.close_run(run, sent);
    ledger.close_batch(key);
    (run, answer)
}

fn mark(ledger: &mut Ledger) -> oneshot::Receiver<Submitted> {
    let (key, answer) = begin(ledger);
    let alive = Alive { slot: 0, slot_session: Ulid::from_parts(1, 1), since: 0, time: 1 };
    ledger.mark(key, EventId(Ulid::from_parts(1, 2)), alive);
    ledger.close_batch(key);
    answer
}

fn is_delivered(answer: &mut oneshot::Receiver<Submitted>) -> bool {
    match answer.try_recv() {
        Ok(Submitted::Delivered) => true,
        Ok(other) => panic!("{other:?}"),
        Err(TryRecvError::Empty) => false,
        Err(TryRecvError::Closed) => panic!("no answer"),
    }
}

#[test]
fn a_batch_is_answered_with_its_last_report() {
    let mut ledger = ledger();
    let (run, mut answer) = batch(&mut ledger, 2);
    ledger.delivered(run, DATA, 0, 10);
    assert!(!is_delivered(&mut answer));
    ledger.delivered(run, DATA, 1, 20);
    assert!(is_delivered(&mut answer));
    assert!(ledger.items.is_empty() && ledger.batches.is_empty());
}

#[test]
fn reports_may_come_while_a_run_is_being_sent() {
    let mut ledger = ledger();
    let (key, mut answer) = begin(&mut ledger);
    let run = ledger.open_run(key);
    ledger.delivered(run, DATA, 0, 10);
    ledger.delivered(run, DATA, 0, 11);
    ledger.close_run(run, 2);
    assert!(!is_delivered(&mut answer), "the batch may go on behind a mark");
    ledger.close_batch(key);
    assert!(is_delivered(&mut answer));
}

#[test]
fn an_empty_batch_is_delivered() {
    let mut ledger = ledger();
    let (_, mut answer) = batch(&mut ledger, 0);
    assert!(is_delivered(&mut answer));
}

#[test]
fn a_mark_waits_for_all_before_it_and_holds_up_nothing_behind_it() {
    let mut ledger = ledger();
    let (first, _a) = batch(&mut ledger, 1);
    let (second, _b) = batch(&mut ledger, 1);
    let mut marked = mark(&mut ledger);
    let (behind, mut answer) = batch(&mut ledger, 1);

    ledger.delivered(behind, DATA, 0, 12);
    assert!(is_delivered(&mut answer));
    ledger.delivered(second, HELLO, 0, 7);
    assert!(!ledger.has_due_mark());
    ledger.delivered(first, DATA, 0, 11);

    let due = ledger.take_due_mark().unwrap();
    let expect = |pairs: &[(&str, i64)]| pairs.iter().map(|(t, o)| ((*t).to_owned(), *o)).collect();
    let partitions: [BTreeMap<String, i64>; 2] = [expect(&[("iot-data", 11), ("iot-hello", 7)]), expect(&[])];
    assert_eq!(due.delivered, partitions, "what was sent behind the mark is not in it");
    assert!(!is_delivered(&mut marked));
    ledger.delivered(due.item, 2, 0, 0);
    ledger.delivered(due.item, 2, 1, 0);
    assert!(is_delivered(&mut marked));
    assert_eq!(ledger.passed(DATA, 0), Some(12));
    assert!(ledger.items.is_empty());
}

#[test]
fn a_mark_in_the_middle_of_a_batch_covers_the_first_half() {
    let mut ledger = ledger();
    let (key, mut answer) = begin(&mut ledger);
    let before = ledger.open_run(key);
    ledger.close_run(before, 1);
    let alive = Alive { slot: 0, slot_session: Ulid::from_parts(1, 1), since: 0, time: 1 };
    ledger.mark(key, EventId(Ulid::from_parts(1, 2)), alive);
    let behind = ledger.open_run(key);
    ledger.close_run(behind, 1);
    ledger.close_batch(key);
    ledger.delivered(behind, DATA, 1, 5);
    ledger.delivered(before, DATA, 1, 4);
    let due = ledger.take_due_mark().unwrap();
    assert_eq!(due.delivered[1].get("iot-data"), Some(&4));
    ledger.delivered(due.item, 2, 0, 0);
    ledger.delivered(due.item, 2, 1, 0);
    assert!(is_delivered(&mut answer));
}

#[test]
fn refused_records_are_named_by_index_and_the_others_are_applied() {
    let mut ledger = ledger();
    let (key, mut answer) = begin(&mut ledger);
    let run = ledger.open_run(key);
    ledger.refused(run, 2, Reason::TOO_LARGE, "too large".into());
    ledger.reject(key, 1, Reason("no_route"), "no route".into());
    ledger.close_run(run, 2);
    ledger.close_batch(key);
    ledger.delivered(run, DATA, 0, 1);
    let Ok(Submitted::Rejected { records, others_applied: true }) = answer.try_recv() else { panic!() };
    let records: Vec<_> = records.iter().map(|r| (r.index, r.reason, r.permanent)).collect();
    assert_eq!(records, [(1, Reason("no_route"), true), (2, Reason::TOO_LARGE, true)]);
}

#[test]
fn a_frozen_ledger_answers_everything_fatal() {
    let mut ledger = ledger();
    let (run, mut open) = batch(&mut ledger, 1);
    let mut fence = ledger.fence();
    ledger.freeze("epoch lost");
    assert!(matches!(open.try_recv(), Ok(Submitted::Fatal(why)) if why == "epoch lost"));
    assert_eq!(fence.try_recv(), Err(TryRecvError::Closed));
    ledger.delivered(run, DATA, 0, 3);
    assert_eq!(ledger.passed(DATA, 0), None);
    let (sender, mut receiver) = oneshot::channel();
    assert!(ledger.begin(sender).is_err());
    assert!(matches!(receiver.try_recv(), Ok(Submitted::Fatal(_))));
}

#[test]
fn a_fence_falls_when_all_before_it_is_settled() {
    let mut ledger = ledger();
    let (run, _answer) = batch(&mut ledger, 1);
    let mut fence = ledger.fence();
    assert_eq!(fence.try_recv(), Err(TryRecvError::Empty));
    ledger.delivered(run, DATA, 0, 0);
    assert_eq!(fence.try_recv(), Ok(()));
    assert_eq!(ledger.fence().try_recv(), Ok(()));
}

#[test]
fn what_an_earlier_life_had_passed_is_known() {
    let mut earlier = ledger();
    let (run, _answer) = batch(&mut earlier, 1);
    earlier.delivered(run, DATA, 1, 9);
    let targets = earlier.targets.clone();
    let mut later = Ledger::new(targets, 2, earlier.passed_offsets().clone());
    let (key, mut answer) = begin(&mut later);
    let run = later.open_run(key);
    later.found(run, HELLO, 1, 4);
    later.close_run(run, 0);
    later.close_batch(key);
    assert!(is_delivered(&mut answer));
    assert_eq!((later.passed(DATA, 1), later.passed(HELLO, 1)), (Some(9), Some(4)));
}
