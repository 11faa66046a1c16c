//! The intake on its own, from all three sides.

use telemill_engine::record::Reason;

use super::*;
use crate::embedded::endpoint::peer::Orders;

fn intake() -> Intake {
    let intake = Intake::new("ingress".into(), Timestamp(0));
    assert!(matches!(intake.take(1, false), Found::Unassigned) && matches!(intake.take(1, false), Found::Nothing));
    intake.assigned();
    intake
}

fn draft(packet_id: Option<u16>, payload: usize) -> Draft {
    Draft {
        device: Some("d1".parse().unwrap()),
        kind: Kind::Data,
        payload: vec![b'1'; payload].into(),
        unfit: None,
        packet_id,
        payload_hash: 7,
        sent: Sent::default(),
    }
}

fn put(intake: &Intake, peer: &Arc<Peer>, packet_ids: impl IntoIterator<Item = u16>) {
    let mut drafts = packet_ids.into_iter().map(|id| draft(Some(id), 1)).collect();
    intake.put(&mut drafts, peer, Timestamp(5));
    assert!(drafts.is_empty());
}

fn batch(intake: &Intake, most: usize) -> SourceBatch {
    match intake.take(most, false) {
        Found::Event(Ok(SourceEvent::Batch(batch))) => batch,
        _ => panic!("there is no batch"),
    }
}

fn safe(peer: &Peer) -> u64 {
    let Orders { safe, .. } = peer.orders();
    safe
}

#[test]
fn each_connection_hears_how_much_of_its_own_is_safe() {
    let (intake, one, two) = (intake(), Arc::new(Peer::new()), Arc::new(Peer::new()));
    put(&intake, &one, [1, 2]);
    put(&intake, &two, [1]);
    intake.put(&mut vec![draft(None, 1)], &two, Timestamp(5));
    put(&intake, &one, [3]);
    let (first, second) = (batch(&intake, 2), batch(&intake, 9));
    assert_eq!((first.records.len(), second.records.len()), (2, 3));
    assert_eq!(intake.oldest(), Some(1));
    intake.acknowledge([first.tag]);
    assert_eq!((safe(&one), safe(&two), intake.oldest()), (2, 0, Some(3)));
    intake.acknowledge([first.tag, second.tag]);
    assert_eq!((safe(&one), safe(&two), intake.oldest()), (1, 1, None), "nothing is owed at QoS 0");
}

#[test]
fn records_are_numbered_and_named_in_the_order_of_the_queue() {
    let (intake, peer) = (intake(), Arc::new(Peer::new()));
    put(&intake, &peer, [9]);
    intake.put(&mut vec![draft(None, 1)], &peer, Timestamp(3));
    let unfit = Some((Unfit { reason: Reason::BAD_DEVICE_ID, detail: "no".to_owned() }, "t".to_owned()));
    intake.put(&mut vec![Draft { device: None, unfit, ..draft(Some(4), 1) }], &peer, Timestamp(5));
    let batch = batch(&intake, 9);
    let all: Vec<&Record> = batch.records.iter().chain(batch.rejected.iter().map(|r| &r.record)).collect();
    let origins: Vec<_> = all.iter().map(|r| r.origin.unwrap()).map(|o| (o.delivery, o.packet_id)).collect();
    assert_eq!(origins, [(1, 9), (2, 0), (3, 4)]);
    assert!(all.is_sorted_by(|a, b| a.id < b.id), "also when the clock goes back");
    assert_eq!((all[2].device.as_str(), &batch.rejected[0].why.source[..]), ("-", &b"t"[..]));
    intake.acknowledge([batch.tag]);
    assert_eq!(safe(&peer), 2);
}

#[test]
fn a_few_records_wait_for_more() {
    let (intake, peer) = (intake(), Arc::new(Peer::new()));
    let taken = |patient| match intake.take(500, patient) {
        Found::Event(Ok(SourceEvent::Batch(batch))) => Some((batch.tag, batch.records.len())),
        Found::Few => None,
        _ => panic!("there are records"),
    };
    put(&intake, &peer, [1, 2]);
    assert_eq!((taken(true), taken(false)), (None, Some((1, 2))), "not for longer than the reader likes");
    put(&intake, &peer, (3..).take(WORTH_WHILE - 1));
    assert_eq!(taken(true), None);
    put(&intake, &peer, [1]);
    assert_eq!(taken(true), Some((2, WORTH_WHILE)), "many do not wait");
    put(&intake, &peer, [1]);
    intake.end(None);
    assert!(matches!(intake.take(500, true), Found::Event(Ok(SourceEvent::End))), "nor does the end");
}

#[test]
fn marks_keep_their_place_and_grow_while_nothing_follows() {
    let (intake, peer) = (intake(), Arc::new(Peer::new()));
    let span = |since, time| Span { since: Timestamp(since), time: Timestamp(time) };
    intake.put_mark(span(0, 1));
    intake.put_mark(span(1, 2));
    put(&intake, &peer, [1]);
    intake.put_mark(span(2, 3));
    intake.put_mark(span(5, 6));
    let batch = batch(&intake, 9);
    let kinds: Vec<_> = batch.records.iter().map(|record| (record.kind.clone(), record.received_at.0)).collect();
    assert_eq!(kinds, [(Kind::Mark, 2), (Kind::Data, 5), (Kind::Mark, 3), (Kind::Mark, 6)]);
    intake.acknowledge([batch.tag]);
    assert_eq!((safe(&peer), intake.oldest()), (1, None));
}

#[test]
fn it_is_bounded_twice_and_nobody_is_read_until_there_is_room_for_all() {
    let (intake, peer) = (intake(), Arc::new(Peer::new()));
    let mut reading = intake.reading();
    put(&intake, &peer, (1..).take(SOFT.records - 1));
    assert_eq!(intake.level(), Level::Open);
    put(&intake, &peer, [1]);
    assert_eq!(intake.level(), Level::High);
    let mut large: Vec<Draft> = (0..64).map(|_| draft(None, 1 << 20)).collect();
    intake.put(&mut large, &peer, Timestamp(5));
    assert_eq!((intake.level(), *reading.borrow_and_update()), (Level::Full, false));
    batch(&intake, SOFT.records + 32);
    assert_eq!((intake.level(), *reading.borrow_and_update()), (Level::High, false));
    batch(&intake, 31);
    assert_eq!((intake.level(), *reading.borrow_and_update()), (Level::Open, true));
}

#[test]
fn its_end_is_heard_by_the_reader_and_the_first_word_counts() {
    let intake = intake();
    intake.end(Some("again"));
    intake.end(None);
    assert!(matches!(intake.take(1, false), Found::Event(Err(SourceError::Unavailable(why))) if why == "again"));
}
