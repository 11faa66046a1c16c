//! Sessions, their ends, and what becomes of commands.

use bytes::Bytes;
use telemill_engine::record::EventId;
use tokio::sync::oneshot;
use ulid::Ulid;

use super::*;

const LIMITS: Limits = Limits {
    connections: 3,
    sessions: 2,
    session_expiry: 100,
    topic: 100,
    subscriptions: 2,
    inflight: 10,
    commands: 2,
    connect_within: Duration::from_secs(1),
};

fn hub() -> Hub {
    Hub::new(LIMITS, TopicTemplate::parse("devices/{device_id}/commands").unwrap())
}

fn client(name: &str) -> ClientId {
    name.into()
}

fn attach(hub: &Hub, name: &str, clean: bool, expiry: u32) -> (Attached, Arc<Peer>) {
    let peer = Arc::new(Peer::new());
    (hub.attach(&client(name), &peer, clean, expiry).unwrap(), peer)
}

fn subscribe(hub: &Hub, name: &str, generation: Generation) -> Vec<Code> {
    let filters = [(format!("devices/{name}/commands"), 1)];
    hub.subscribe(&client(name), generation, &Access::Anyone, &filters).0
}

fn command(hub: &Hub, name: &str, number: u128) -> Handed {
    let topic = format!("devices/{name}/commands");
    let mut handed = hub.hand_in(&topic, EventId(Ulid(number)), &Bytes::from(number.to_string()));
    assert_eq!(handed.len(), 1);
    handed.remove(0)
}

/// Hands a command in, and over as if it had become durable.
fn keep(hub: &Hub, name: &str, number: u128) {
    match command(hub, name, number) {
        Handed::Keep(promised, _) => assert_eq!(hub.hand_over(promised, true), None),
        other => panic!("{other:?}"),
    }
}

fn next(hub: &Hub, name: &str, generation: Generation) -> Option<(Option<u16>, bool, String)> {
    let sending = hub.next_command(&client(name), generation, 10)?;
    Some((sending.packet_id, sending.dup, String::from_utf8(sending.payload.to_vec()).unwrap()))
}

#[test]
fn a_session_that_is_kept_is_resumed_with_its_subscriptions_and_commands() {
    let hub = hub();
    let (first, _) = attach(&hub, "d1", false, 1000);
    assert!(!first.session_present);
    assert_eq!((first.expiry, first.changes.len()), (100, 1), "bounded by the limit");
    assert_eq!(subscribe(&hub, "d1", first.generation), [Code(1)]);
    keep(&hub, "d1", 1);
    assert_eq!(next(&hub, "d1", first.generation), Some((Some(1), false, "1".to_owned())));
    assert_eq!(hub.detach(&client("d1"), first.generation, None, None, Instant::now()), []);
    keep(&hub, "d1", 2);

    let (second, _) = attach(&hub, "d1", false, 1000);
    assert!(second.session_present && second.predecessor.is_none());
    hub.reconnected(&client("d1"), second.generation);
    assert_eq!(next(&hub, "d1", second.generation), Some((Some(1), true, "1".to_owned())));
    assert_eq!(next(&hub, "d1", second.generation), Some((Some(2), false, "2".to_owned())));
    assert!(hub.settle(&client("d1"), first.generation, 1, true).is_none(), "an earlier connection has no say");
    assert_eq!(hub.settle(&client("d1"), second.generation, 1, true), Some(Change::no_command("d1", 1)));
}

#[test]
fn a_clean_start_ends_what_was_kept() {
    let hub = hub();
    let (first, _) = attach(&hub, "d1", false, 50);
    subscribe(&hub, "d1", first.generation);
    keep(&hub, "d1", 1);
    let (second, _) = attach(&hub, "d1", true, 0);
    assert!(!second.session_present);
    assert_eq!(second.changes, [Change::no_session("d1"), Change::no_command("d1", 1)]);
    assert!(matches!(command(&hub, "d1", 2), Handed::Nobody));
}

#[test]
fn a_session_that_is_not_kept_leaves_nothing_behind() {
    let hub = hub();
    let (first, _) = attach(&hub, "d1", true, 0);
    assert_eq!(first.changes, []);
    subscribe(&hub, "d1", first.generation);
    let Handed::Sent(mut taken) = command(&hub, "d1", 1) else { panic!() };
    assert_eq!(hub.detach(&client("d1"), first.generation, None, None, Instant::now()), []);
    assert!(taken.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
    assert_eq!(hub.counts(), (0, 0));
    let (second, _) = attach(&hub, "d1", false, 0);
    assert!(!second.session_present);
}

#[test]
fn a_second_connection_takes_the_place_of_the_first() {
    let hub = hub();
    let (first, first_peer) = attach(&hub, "d1", false, 50);
    let (second, _) = attach(&hub, "d1", false, 50);
    assert!(second.session_present && Arc::ptr_eq(&second.predecessor.unwrap(), &first_peer));
    assert_eq!(hub.counts(), (1, 1));
    // What the first one says on its way out has no effect.
    let will = Will { topic: "t".to_owned(), payload: Bytes::new(), qos: 0, delay: 5 };
    let now = Instant::now();
    let held = Some(will);
    assert_eq!(hub.detach(&client("d1"), first.generation, Some(0), held, now), []);
    assert_eq!(hub.counts(), (1, 1));
    assert!(hub.tick(now + Duration::from_secs(60)).1.is_empty());

    let (clean, _) = attach(&hub, "d2", true, 0);
    let (other, _) = attach(&hub, "d2", false, 0);
    assert!(clean.predecessor.is_none() && other.predecessor.is_some());
    assert!(!other.session_present, "it ended with its connection");
}

#[test]
fn limits_are_kept_and_a_takeover_needs_no_room() {
    let hub = hub();
    let refused = |name: &str, expiry| hub.attach(&client(name), &Arc::new(Peer::new()), false, expiry).err();
    attach(&hub, "d1", false, 50);
    attach(&hub, "d2", false, 50);
    assert_eq!(refused("d3", 50), Some(Code::QUOTA_EXCEEDED));
    let (third, _) = attach(&hub, "d3", false, 0);
    assert_eq!(refused("d4", 0), Some(Code::SERVER_BUSY));
    attach(&hub, "d3", false, 0);
    attach(&hub, "d1", true, 50);
    let filters: Vec<_> = ["a", "b", "c"].map(|d| (format!("devices/{d}/commands"), 1)).into();
    let (codes, changes) = hub.subscribe(&client("d3"), third.generation, &Access::Anyone, &filters);
    assert_eq!((codes, changes), (vec![Code::UNSPECIFIED; 3], Vec::new()), "it was taken over");
    let (fourth, _) = attach(&hub, "d3", false, 0);
    let (codes, _) = hub.subscribe(&client("d3"), fourth.generation, &Access::Anyone, &filters);
    assert_eq!(codes, [Code(1), Code(1), Code::QUOTA_EXCEEDED]);
    let (codes, _) = hub.unsubscribe(&client("d3"), fourth.generation, &["devices/a/commands".into(), "x".into()]);
    assert_eq!(codes, [Code::SUCCESS, Code::NO_SUBSCRIPTION]);
    assert!(matches!(command(&hub, "a", 1), Handed::Nobody));
}

#[test]
fn a_session_ends_when_its_time_is_over_and_is_counted_out() {
    let hub = hub();
    let now = Instant::now();
    let (first, _) = attach(&hub, "d1", false, 50);
    subscribe(&hub, "d1", first.generation);
    keep(&hub, "d1", 1);
    hub.detach(&client("d1"), first.generation, None, None, now);
    assert_eq!(hub.tick(now + Duration::from_secs(49)).0, []);
    let over = hub.tick(now + Duration::from_secs(50)).0;
    assert_eq!(over, [Change::no_session("d1"), Change::no_command("d1", 1)]);
    assert_eq!(hub.counts(), (0, 0));
    attach(&hub, "d2", false, 50);
    attach(&hub, "d3", false, 50);
}

#[test]
fn the_last_word_shortens_a_session_and_cannot_bring_one_into_being() {
    let hub = hub();
    let now = Instant::now();
    let (first, _) = attach(&hub, "d1", false, 50);
    assert_eq!(hub.detach(&client("d1"), first.generation, Some(0), None, now), [Change::no_session("d1")]);
    let (second, _) = attach(&hub, "d1", false, 0);
    hub.detach(&client("d1"), second.generation, Some(50), None, now);
    assert_eq!(hub.counts(), (0, 0));
    let (third, _) = attach(&hub, "d1", false, 50);
    hub.detach(&client("d1"), third.generation, Some(5), None, now);
    assert_eq!(hub.tick(now + Duration::from_secs(5)).0, [Change::no_session("d1")]);
}

#[test]
fn a_will_is_held_back_until_its_delay_is_over_or_the_client_is_back() {
    let hub = hub();
    let now = Instant::now();
    let will = |delay| Will { topic: "t".to_owned(), payload: Bytes::new(), qos: 0, delay };
    let gone = |name: &str, expiry, delay| {
        let (attached, _) = attach(&hub, name, false, expiry);
        hub.detach(&client(name), attached.generation, None, Some(will(delay)), now);
    };
    gone("d1", 50, 10);
    assert!(hub.tick(now + Duration::from_secs(9)).1.is_empty());
    let due = hub.tick(now + Duration::from_secs(10)).1;
    assert_eq!(due.iter().map(|(client, ..)| &**client).collect::<Vec<_>>(), ["d1"]);
    assert!(hub.tick(now + Duration::from_secs(11)).1.is_empty(), "said once");
    gone("d1", 50, 10);
    attach(&hub, "d1", false, 50);
    assert!(hub.tick(now + Duration::from_secs(40)).1.is_empty());
    gone("d2", 0, 10);
    assert_eq!(hub.tick(now).1.len(), 1, "with its session's end");
}

#[test]
fn commands_wait_in_order_within_their_limit_and_only_once() {
    let hub = hub();
    let (first, peer) = attach(&hub, "d1", false, 50);
    subscribe(&hub, "d1", first.generation);
    let Handed::Keep(promised, change) = command(&hub, "d1", 1) else { panic!() };
    assert_eq!(change, Change::command("d1", 1, EventId(Ulid(1)), "devices/d1/commands", b"1"));
    assert_eq!(next(&hub, "d1", first.generation), None, "it is not durable");
    assert_eq!(hub.hand_over(promised, true), None);
    assert!(peer.orders().commands);
    assert!(matches!(command(&hub, "d1", 1), Handed::Known));
    let Handed::Keep(promised, _) = command(&hub, "d1", 2) else { panic!() };
    assert!(matches!(command(&hub, "d1", 3), Handed::Full), "one on its way to the disk counts");
    hub.hand_over(promised, false);
    keep(&hub, "d1", 4);
    assert_eq!(next(&hub, "d1", first.generation), Some((Some(1), false, "1".to_owned())));
    assert_eq!(next(&hub, "d1", first.generation), Some((Some(2), false, "4".to_owned())));

    hub.settle(&client("d1"), first.generation, 1, true);
    let Handed::Keep(promised, _) = command(&hub, "d1", 5) else { panic!() };
    attach(&hub, "d1", true, 0);
    assert_eq!(hub.hand_over(promised, true), Some(Change::no_command("d1", 4)), "its session is gone");
}

#[test]
fn a_device_without_a_kept_session_is_waited_for() {
    let hub = hub();
    let (first, _) = attach(&hub, "d1", true, 0);
    subscribe(&hub, "d1", first.generation);
    let Handed::Sent(mut taken) = command(&hub, "d1", 1) else { panic!() };
    let Handed::Sent(mut refused) = command(&hub, "d1", 2) else { panic!() };
    assert!(next(&hub, "d1", first.generation).is_some() && next(&hub, "d1", first.generation).is_some());
    assert!(taken.try_recv().is_err());
    assert_eq!(hub.settle(&client("d1"), first.generation, 1, true), None);
    assert_eq!(taken.try_recv(), Ok(()));
    hub.settle(&client("d1"), first.generation, 2, false);
    assert!(refused.try_recv().is_err());
}

#[test]
fn who_submits_again_waits_for_the_device_as_who_submitted_first() {
    let hub = hub();
    let (first, _) = attach(&hub, "d1", true, 0);
    subscribe(&hub, "d1", first.generation);
    let Handed::Sent(gone) = command(&hub, "d1", 1) else { panic!() };
    drop(gone);
    let Handed::Sent(mut taken) = command(&hub, "d1", 1) else { panic!() };
    assert!(next(&hub, "d1", first.generation).is_some() && next(&hub, "d1", first.generation).is_none(), "once");
    assert!(taken.try_recv().is_err());
    hub.settle(&client("d1"), first.generation, 1, true);
    assert_eq!(taken.try_recv(), Ok(()));
}

#[test]
fn what_was_kept_is_there_after_a_restart() {
    let hub = hub();
    let now = Instant::now();
    let command = super::super::store::CommandRecord {
        sequence: 7,
        id: EventId(Ulid(1)),
        topic: "devices/d1/commands".to_owned(),
        payload: "1".into(),
    };
    let session = SessionRecord::new(50, vec![("devices/d1/commands".to_owned(), 1)]);
    hub.restore(vec![Kept { client: "d1".to_owned(), session, commands: vec![command] }], now);
    keep(&hub, "d1", 2);
    let (first, _) = attach(&hub, "d1", false, 50);
    assert!(first.session_present);
    assert_eq!(next(&hub, "d1", first.generation), Some((Some(1), true, "1".to_owned())), "it may have been sent");
    assert_eq!(next(&hub, "d1", first.generation), Some((Some(2), false, "2".to_owned())));
    assert_eq!(hub.settle(&client("d1"), first.generation, 2, true), Some(Change::no_command("d1", 8)));
}
