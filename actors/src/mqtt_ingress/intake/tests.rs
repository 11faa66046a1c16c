//! The intake on its own, from all three sides.

use bytes::Bytes;
use telemill_engine::clock::Timestamp;
use telemill_engine::record::{DeadReason, EventId, Kind, Reason};
use ulid::Ulid;

use super::*;
use crate::ingress::pulse::Span;

fn record(delivery: u64, payload: usize) -> Item {
    let id = EventId(Ulid(u128::from(delivery)));
    let payload = Bytes::from(vec![b'1'; payload]);
    let mut item = Item::Record(Record::new(id, "d1".parse().unwrap(), Kind::Data, payload, Timestamp(0)));
    item.set_origin(Origin { slot: 0, slot_session: Ulid(1), delivery, packet_id: 1, payload_hash: 0 });
    item
}

fn rejected(delivery: u64) -> Item {
    let Item::Record(record) = record(delivery, 1) else { panic!() };
    let (detail, stage) = ("".into(), "ingress".into());
    let why = DeadReason { reason: Reason::EMPTY, detail, stage, attempts: 1, source: Bytes::new() };
    Item::Rejected(RejectedRecord { record, why })
}

fn mark(since: u64, time: u64) -> Mark {
    let span = Span { since: Timestamp(since), time: Timestamp(time) };
    Mark { id: EventId(Ulid(9)), slot: 0, slot_session: Ulid(1), span }
}

fn open(max_records: usize) -> Arc<Intake> {
    let intake = Intake::new(max_records);
    assert!(matches!(intake.take(1), Found::Unassigned));
    assert!(matches!(intake.take(1), Found::Nothing), "it asks once");
    intake.assigned();
    intake
}

fn batch(intake: &Intake, max_records: usize) -> SourceBatch {
    match intake.take(max_records) {
        Found::Event(Ok(SourceEvent::Batch(batch))) => batch,
        _ => panic!("no batch"),
    }
}

#[test]
fn nothing_is_handed_out_before_the_partition_is_assigned() {
    let intake = Intake::new(10);
    intake.put(&mut vec![record(1, 1)]);
    assert!(matches!(intake.take(10), Found::Unassigned));
    assert!(matches!(intake.take(10), Found::Nothing));
    assert!(!intake.orders().assigned);
    intake.assigned();
    assert!(intake.orders().assigned);
    assert_eq!(batch(&intake, 10).records.len(), 1);
}

#[test]
fn a_batch_is_what_is_there_up_to_the_number_asked_for() {
    let intake = open(10);
    intake.put(&mut vec![record(1, 1), rejected(2), record(3, 1), record(4, 1)]);
    let first = batch(&intake, 3);
    assert_eq!((first.records.len(), first.rejected.len(), first.tag), (2, 1, 1));
    let second = batch(&intake, 3);
    assert_eq!((second.records.len(), second.rejected.len(), second.tag), (1, 0, 2));
    assert!(matches!(intake.take(3), Found::Nothing));
}

#[test]
fn an_acknowledgement_covers_all_batches_up_to_it() {
    let intake = open(10);
    intake.put(&mut vec![record(1, 1), record(2, 1), rejected(3)]);
    batch(&intake, 1);
    batch(&intake, 2);
    intake.put_mark(mark(0, 1));
    batch(&intake, 1);
    let check = |tags: &[u64], expect| {
        intake.acknowledge(tags.iter().copied());
        assert_eq!(intake.orders().safe, expect);
    };
    check(&[1], 1);
    check(&[1], 1);
    check(&[2, 3], 3);
    check(&[], 3);
}

#[test]
fn an_earlier_session_has_no_say_in_a_later_one() {
    let intake = open(10);
    intake.put(&mut vec![record(7, 1)]);
    batch(&intake, 1);
    intake.new_life();
    intake.put(&mut vec![record(1, 1)]);
    batch(&intake, 1);
    intake.acknowledge([1]);
    assert_eq!(intake.orders().safe, 0);
    intake.acknowledge([2]);
    assert_eq!(intake.orders().safe, 1);
}

#[test]
fn room_is_bounded_in_records_and_in_bytes() {
    let intake = open(2);
    intake.put(&mut vec![record(1, 1)]);
    assert!(intake.orders().room);
    intake.put(&mut vec![record(2, 1)]);
    assert!(!intake.orders().room);
    batch(&intake, 1);
    assert!(intake.orders().room);
    intake.put(&mut vec![record(3, MAX_BYTES)]);
    batch(&intake, 1);
    assert!(!intake.orders().room, "one large record is enough");
    batch(&intake, 1);
    assert!(intake.orders().room);
    assert_eq!(intake.with(|inner| inner.bytes), 0);
}

#[tokio::test]
async fn the_task_is_woken_when_there_is_room_again() {
    let intake = open(2);
    intake.orders.notified().await; // the assignment
    intake.put(&mut vec![record(1, 1), record(2, 1), record(3, 1)]);
    batch(&intake, 1);
    batch(&intake, 1);
    intake.woken().await;
}

#[test]
fn marks_do_not_pile_up() {
    let intake = open(10);
    intake.put_mark(mark(0, 1000));
    intake.put_mark(mark(1000, 2000));
    intake.put_mark(mark(5000, 6000));
    intake.put(&mut vec![record(1, 1)]);
    intake.put_mark(mark(6000, 7000));
    let batch = batch(&intake, 10);
    let payloads: Vec<_> = batch.records.iter().map(|r| String::from_utf8_lossy(&r.payload)).collect();
    let mark = |since: u64, time: u64| {
        format!(r#"{{"slot":0,"slot_session":"00000000000000000000000001","since":{since},"time":{time}}}"#)
    };
    assert_eq!(payloads, [mark(0, 2000), mark(5000, 6000), "1".to_owned(), mark(6000, 7000)]);
    assert_eq!((&batch.records[0].kind, batch.records[0].device.as_str()), (&Kind::Mark, "mark"));
    assert_eq!((batch.records[0].received_at, batch.records[0].origin), (Timestamp(2000), None));
}

#[test]
fn what_was_not_handed_out_can_be_taken_back() {
    let intake = open(10);
    intake.put(&mut vec![record(1, 1), record(2, 1)]);
    batch(&intake, 1);
    let mut taken = intake.take_back();
    let deliveries: Vec<_> = taken.iter_mut().filter_map(|i| Some(i.origin_mut()?.delivery)).collect();
    assert_eq!(deliveries, [2]);
    assert!(matches!(intake.take(10), Found::Nothing));
    assert_eq!(intake.with(|inner| inner.bytes), 0);
}

#[test]
fn the_end_is_told_with_its_reason() {
    let check = |asked: Option<Option<Failure>>, ended: Option<Failure>, expect: &str| {
        let intake = open(10);
        intake.put(&mut vec![record(1, 1)]);
        if let Some(why) = asked {
            intake.close(why);
            assert!(intake.orders().closing);
        }
        intake.end(ended);
        intake.end(Some(Failure::Rebuild("too late")));
        let Found::Event(event) = intake.take(10) else { panic!() };
        assert_eq!(format!("{event:?}"), expect);
    };
    check(Some(None), None, "Ok(End)");
    check(None, Some(Failure::Broken("fenced".to_owned())), r#"Err(Broken("fenced"))"#);
    check(Some(Some(Failure::Rebuild("let go"))), None, r#"Err(Unavailable("let go"))"#);
    check(Some(None), Some(Failure::Rebuild("died")), r#"Err(Unavailable("died"))"#);
}

#[tokio::test]
async fn it_serves_from_the_moment_on_at_which_the_task_says_so() {
    let intake = Intake::new(1);
    let mut serving = std::pin::pin!(intake.serving());
    assert!(futures_util::poll!(&mut serving).is_pending());
    intake.serves();
    serving.await;
    intake.serving().await;
}
