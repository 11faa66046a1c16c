//! What a client says and the bytes that it gets for it, each as the standard has it.

use super::*;

const BOUNDS: Bounds = Bounds { packet: 1000, topic: 20, client_id: 10, receive_maximum: 3 };

/// A packet: type and flags, and what stands behind the length.
pub(super) fn packet(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut bytes = vec![first];
    let mut length = body.len();
    loop {
        let digit = (length % 128) as u8;
        length /= 128;
        bytes.push(if length > 0 { digit | 0x80 } else { digit });
        if length == 0 {
            break;
        }
    }
    bytes.extend(body);
    bytes
}

/// A text or binary field.
pub(super) fn field(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    [&u16::try_from(text.len()).unwrap().to_be_bytes(), text].concat()
}

/// The properties of a packet of version 5; none in 3.1.1.
fn no_properties(version: u8) -> &'static [u8] {
    if version == 5 { &[0] } else { &[] }
}

pub(super) fn connect(version: u8, flags: u8, client_id: &str) -> Vec<u8> {
    let head = [&[0, 4][..], b"MQTT", &[version, flags, 0, 60], no_properties(version)].concat();
    packet(0x10, &[&head, &field(client_id)])
}

pub(super) fn publish(version: u8, qos: u8, packet_id: u16, topic: impl AsRef<[u8]>, payload: &[u8]) -> Vec<u8> {
    let id = packet_id.to_be_bytes();
    let id: &[u8] = if qos > 0 { &id } else { &[] };
    packet(0x30 | qos << 1, &[&field(topic), id, no_properties(version), payload])
}

fn subscribe(version: u8, packet_id: u16, filter: impl AsRef<[u8]>, options: u8) -> Vec<u8> {
    packet(0x82, &[&packet_id.to_be_bytes(), no_properties(version), &field(filter), &[options]])
}

const TERMS: Terms<'static> =
    Terms { session_present: false, client_id: None, session_expiry: None, receive_maximum: 3, packet_limit: 1000 };

/// A machine that has let a client in; its CONNACK is taken out.
fn open(version: u8) -> Machine {
    let mut machine = Machine::new(BOUNDS);
    let mut events = Vec::new();
    machine.feed(&connect(version, 2, "c"), &mut events);
    assert!(matches!(events[..], [Event::Connect(_)]), "{events:?}");
    machine.open(&TERMS, &mut events);
    machine.out().clear();
    machine
}

fn feed(machine: &mut Machine, bytes: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    machine.feed(bytes, &mut events);
    events
}

fn failed(events: &[Event]) -> Option<Code> {
    events.iter().find_map(|event| match event {
        Event::Failed(fault) => Some(fault.code),
        _ => None,
    })
}

/// What a stranger gets for its first bytes: the code of its fault, and the answer.
fn stranger(bytes: &[u8], code: Code, answer: &[u8]) {
    let mut machine = Machine::new(BOUNDS);
    let events = feed(&mut machine, bytes);
    assert_eq!(failed(&events), Some(code), "{}", bytes.escape_ascii());
    assert_eq!(machine.out(), answer, "{}", bytes.escape_ascii());
    assert!(machine.is_closed());
}

/// What a client that is in gets for breaking the protocol: in version 5 a DISCONNECT with the code, in 3.1.1 nothing.
fn breaks(version: u8, bytes: &[u8], code: Code) {
    let mut machine = open(version);
    let events = feed(&mut machine, bytes);
    assert_eq!(failed(&events), Some(code), "{}", bytes.escape_ascii());
    let farewell: Vec<u8> = if version == 5 { vec![0xe0, 1, code.0] } else { Vec::new() };
    assert_eq!(*machine.out(), farewell, "{}", bytes.escape_ascii());
    assert!(machine.is_closed());
    assert!(feed(&mut machine, &publish(version, 1, 1, "a", b"")).is_empty(), "nothing is read behind a fault");
}

#[test]
fn a_client_is_let_in_with_what_it_may_do() {
    let mut machine = Machine::new(BOUNDS);
    let mut events = feed(&mut machine, &connect(4, 2, "d1"));
    let Some(Event::Connect(asked)) = events.pop() else { panic!("{events:?}") };
    assert_eq!((asked.version, asked.client_id.as_str(), asked.clean, asked.keep_alive), (Version::V3, "d1", true, 60));
    machine.open(&TERMS, &mut events);
    assert_eq!(*machine.out(), [0x20, 2, 0, 0]);

    let mut machine = Machine::new(BOUNDS);
    let mut events = feed(&mut machine, &connect(5, 0, ""));
    machine.open(&Terms { session_present: true, client_id: Some("x"), session_expiry: Some(9), ..TERMS }, &mut events);
    let properties = [&[0x21, 0, 3][..], &[0x24, 1], &[0x27, 0, 0, 3, 0xe8], &[0x29, 0], &[0x2a, 0]].concat();
    let properties = [&properties[..], &[0x12, 0, 1, b'x'], &[0x11, 0, 0, 0, 9]].concat();
    assert_eq!(*machine.out(), packet(0x20, &[&[1, 0, properties.len() as u8], &properties]));
}

#[test]
fn a_topic_alias_maximum_of_zero_is_a_legal_word() {
    let head = [&[0, 4][..], b"MQTT", &[5, 2, 0, 60], &[3, 0x22, 0, 0]].concat();
    let events = feed(&mut Machine::new(BOUNDS), &packet(0x10, &[&head, &field("c")]));
    assert!(matches!(events[..], [Event::Connect(_)]), "{events:?}");
}

#[test]
fn a_stranger_is_answered_as_its_version_has_it() {
    let unsupported = [0x20, 2, 0, 1];
    stranger(&connect(3, 2, "c"), Code::UNSUPPORTED_VERSION, &unsupported);
    stranger(&connect(6, 2, "c"), Code::UNSUPPORTED_VERSION, &unsupported);
    let v31 = packet(0x10, &[&[0, 6], b"MQIsdp", &[3, 2, 0, 60], &field("c")]);
    stranger(&v31, Code::UNSUPPORTED_VERSION, &unsupported);
    stranger(&packet(0x10, &[&[0, 4], b"HTTP", &[4, 2, 0, 60], &field("c")]), Code::MALFORMED, &[]);
    stranger(b"GET / HTTP/1.1\r\n\r\n", Code::PROTOCOL_ERROR, &[]);
    stranger(&packet(0xc0, &[]), Code::PROTOCOL_ERROR, &[]);
    stranger(&publish(4, 1, 1, "a", b""), Code::PROTOCOL_ERROR, &[]);

    // Malformed: closed without a word in 3.1.1, CONNACK with the reason in 5.
    let refused = |code: Code| [0x20, 3, 0, code.0, 0];
    for flags in [3, 0b0001_1110, 0b0000_1010, 0b0010_0010] {
        stranger(&connect(4, flags, "c"), Code::MALFORMED, &[]);
        stranger(&connect(5, flags, "c"), Code::MALFORMED, &refused(Code::MALFORMED));
    }
    stranger(&connect(4, 2, "c\0"), Code::MALFORMED, &[]);
    stranger(&connect(5, 2, "c\0"), Code::MALFORMED, &refused(Code::MALFORMED));
    stranger(&connect(4, 0, ""), Code::CLIENT_ID_INVALID, &[0x20, 2, 0, 2]);
    stranger(&connect(4, 2, "12345678901"), Code::CLIENT_ID_INVALID, &[0x20, 2, 0, 2]);
    stranger(&connect(5, 2, "12345678901"), Code::CLIENT_ID_INVALID, &refused(Code::CLIENT_ID_INVALID));
    let reserved = [&[0x11][..], &connect(5, 2, "c")[1..]].concat();
    stranger(&reserved, Code::MALFORMED, &refused(Code::MALFORMED));

    let will = |qos: u8, topic: &str| {
        let head = [&[0, 4][..], b"MQTT", &[5, 0b110 | qos << 3, 0, 60], &[0]].concat();
        packet(0x10, &[&head, &field("c"), &[0], &field(topic), &field("gone")])
    };
    stranger(&will(2, "a"), Code::QOS_NOT_SUPPORTED, &refused(Code::QOS_NOT_SUPPORTED));
    stranger(&will(1, "a/+"), Code::TOPIC_INVALID, &refused(Code::TOPIC_INVALID));
    stranger(&will(1, "a topic that is too long"), Code::TOPIC_INVALID, &refused(Code::TOPIC_INVALID));
    let method = [&[0, 4][..], b"MQTT", &[5, 2, 0, 60], &[4, 0x15, 0, 1, b'x']].concat();
    let code = Code::BAD_AUTHENTICATION_METHOD;
    stranger(&packet(0x10, &[&method, &field("c")]), code, &refused(code));
}

#[test]
fn a_will_comes_with_the_connect() {
    let head = [&[0, 4][..], b"MQTT", &[5, 0b1110, 0, 60], &[0]].concat();
    let will = [&[5, 0x18, 0, 0, 0, 7][..], &field("a/b"), &field("gone")].concat();
    let mut events = feed(&mut Machine::new(BOUNDS), &packet(0x10, &[&head, &field("c"), &will]));
    let Some(Event::Connect(asked)) = events.pop() else { panic!("{events:?}") };
    let expect = super::super::wire::Will { topic: "a/b".to_owned(), payload: "gone".into(), qos: 1, delay: 7 };
    assert_eq!(asked.will, Some(expect));
}

#[test]
fn who_breaks_the_protocol_is_sent_away_with_the_reason() {
    for version in [4, 5] {
        let breaks = |bytes: &[u8], code| breaks(version, bytes, code);
        breaks(&connect(version, 2, "c"), Code::PROTOCOL_ERROR);
        breaks(&publish(version, 1, 1, "a/+", b""), Code::TOPIC_INVALID);
        breaks(&publish(version, 1, 1, "a/#", b""), Code::TOPIC_INVALID);
        breaks(&publish(version, 1, 1, "a\0b", b""), Code::MALFORMED);
        breaks(&publish(version, 1, 1, b"a\xff", b""), Code::MALFORMED);
        breaks(&publish(version, 1, 1, "", b""), Code::PROTOCOL_ERROR);
        breaks(&publish(version, 1, 0, "a", b""), Code::PROTOCOL_ERROR);
        breaks(&publish(version, 2, 1, "a", b""), Code::QOS_NOT_SUPPORTED);
        breaks(&publish(version, 3, 1, "a", b""), Code::MALFORMED);
        breaks(&[&[0x38][..], &publish(version, 0, 0, "a", b"")[1..]].concat(), Code::MALFORMED);
        breaks(&publish(version, 1, 1, "a", &[0; 1000]), Code::PACKET_TOO_LARGE);
        breaks(&[0x30, 0xff, 0xff, 0xff, 0xff, 1], Code::MALFORMED);
        breaks(&subscribe(version, 0, "a", 1), Code::PROTOCOL_ERROR);
        breaks(&subscribe(version, 1, "", 1), Code::MALFORMED);
        breaks(&subscribe(version, 1, "a\0", 1), Code::MALFORMED);
        breaks(&subscribe(version, 1, "a", 3), Code::MALFORMED);
        breaks(&subscribe(version, 1, "a", 0x40), Code::MALFORMED);
        breaks(&[&[0x80][..], &subscribe(version, 1, "a", 1)[1..]].concat(), Code::MALFORMED);
        breaks(&packet(0x82, &[&[0, 1], no_properties(version)]), Code::PROTOCOL_ERROR);
        breaks(&packet(0xc1, &[]), Code::MALFORMED);
        breaks(&packet(0xc0, &[b"x"]), Code::MALFORMED);
        breaks(&packet(0x20, &[&[0, 0]]), Code::PROTOCOL_ERROR);
        breaks(&packet(0xd0, &[]), Code::PROTOCOL_ERROR);
        breaks(&packet(0x50, &[&[0, 1]]), Code::PROTOCOL_ERROR);
        breaks(&packet(0x00, &[]), Code::PROTOCOL_ERROR);
        breaks(&packet(0xf0, &[]), Code::PROTOCOL_ERROR);
    }
    let with_property = |property: &[u8]| packet(0x32, &[&field("a"), &[0, 1], &[property.len() as u8], property]);
    breaks(5, &with_property(&[0x23, 0, 1]), Code::TOPIC_ALIAS_INVALID);
    breaks(5, &with_property(&[0x0b, 1]), Code::PROTOCOL_ERROR);
    breaks(5, &subscribe(5, 1, "$share/g/a", 1), Code::SHARED_NOT_SUPPORTED);
    breaks(5, &packet(0x82, &[&[0, 1], &[2, 0x0b, 1], &field("a"), &[1]]), Code::IDENTIFIERS_NOT_SUPPORTED);
    breaks(4, &subscribe(4, 1, "a", 0b100), Code::MALFORMED);
    breaks(4, &publish(4, 1, 1, "a topic that is too long", b""), Code::TOPIC_INVALID);
}

#[test]
fn a_message_is_taken_whatever_its_pieces() {
    for version in [4, 5] {
        let mut machine = open(version);
        let bytes = publish(version, 1, 7, "d/\r\n", b"{}");
        let mut events = Vec::new();
        for byte in &bytes {
            assert!(events.is_empty());
            machine.feed(std::slice::from_ref(byte), &mut events);
        }
        let [Event::Publish(taken)] = &events[..] else { panic!("{events:?}") };
        assert_eq!((taken.topic.as_str(), &taken.payload[..], taken.packet_id), ("d/\r\n", &b"{}"[..], Some(7)));
        assert!(machine.out().is_empty() && machine.owed() == 1);
    }
}

#[test]
fn acknowledgements_leave_in_the_order_of_the_messages() {
    let mut machine = open(5);
    for (packet_id, topic) in [(1, "a"), (2, "a topic that is too long"), (3, "b")] {
        feed(&mut machine, &publish(5, 1, packet_id, topic, b""));
    }
    assert!(machine.out().is_empty(), "the refused one waits for the one before it");
    machine.release(1);
    assert_eq!(*machine.out(), [[0x40, 2, 0, 1].as_slice(), &[0x40, 3, 0, 2, 0x90]].concat());
    machine.out().clear();
    assert!(machine.reject(Some(3), Code::NOT_AUTHORIZED, "").is_none());
    assert_eq!(*machine.out(), [0x40, 3, 0, 3, 0x87]);
    assert_eq!(machine.owed(), 0);
}

#[test]
fn a_message_that_cannot_be_refused_ends_the_connection_in_3_1_1() {
    let mut machine = open(4);
    feed(&mut machine, &publish(4, 1, 1, "a", b""));
    assert_eq!(machine.reject(Some(1), Code::NOT_AUTHORIZED, "no").map(|fault| fault.code), Some(Code::NOT_AUTHORIZED));
    assert!(machine.is_closed() && machine.out().is_empty());
}

#[test]
fn the_window_is_kept_by_version_5_alone() {
    let mut machine = open(5);
    let all: Vec<u8> = (1..=4).flat_map(|id| publish(5, 1, id, "a", b"")).collect();
    let events = feed(&mut machine, &all);
    assert_eq!((events.len(), failed(&events)), (4, Some(Code::RECEIVE_MAXIMUM)));
    assert_eq!(*machine.out(), [0xe0, 1, 0x93]);

    let mut machine = open(4);
    let all: Vec<u8> = (1..=100).flat_map(|id| publish(4, 1, id, "a", b"")).collect();
    assert_eq!(feed(&mut machine, &all).len(), 100);
    assert!(!machine.is_closed() && machine.owed() == 100);
}

#[test]
fn pings_are_answered_while_messages_wait() {
    for version in [4, 5] {
        let mut machine = open(version);
        feed(&mut machine, &publish(version, 1, 1, "a", b""));
        assert!(feed(&mut machine, &packet(0xc0, &[])).is_empty());
        assert_eq!(*machine.out(), [0xd0, 0]);
    }
}

#[test]
fn what_comes_behind_a_connect_waits_for_its_answer() {
    let mut machine = Machine::new(BOUNDS);
    let mut events = feed(&mut machine, &[connect(4, 2, "c"), publish(4, 1, 1, "a", b"")].concat());
    events.extend(feed(&mut machine, &packet(0xc0, &[])));
    assert!(matches!(events[..], [Event::Connect(_)]) && machine.out().is_empty(), "{events:?}");
    events.clear();
    machine.open(&TERMS, &mut events);
    assert!(matches!(events[..], [Event::Publish(_)]), "{events:?}");
    assert_eq!(*machine.out(), [0x20, 2, 0, 0, 0xd0, 0]);

    let mut machine = Machine::new(BOUNDS);
    feed(&mut machine, &[connect(5, 2, "c"), publish(5, 1, 1, "a", b"")].concat());
    machine.refuse(Code::NOT_AUTHORIZED);
    assert_eq!(*machine.out(), [0x20, 3, 0, 0x87, 0]);
    assert!(feed(&mut machine, &packet(0xc0, &[])).is_empty());
}

#[test]
fn a_farewell_says_what_becomes_of_the_will() {
    let left = |version, bytes: &[u8]| {
        let events = feed(&mut open(version), bytes);
        let [Event::Left { with_will, session_expiry }] = events[..] else { panic!("{events:?}") };
        (with_will, session_expiry)
    };
    assert_eq!(left(4, &packet(0xe0, &[])), (false, None));
    assert_eq!(left(5, &packet(0xe0, &[])), (false, None));
    assert_eq!(left(5, &packet(0xe0, &[&[0x04]])), (true, None));
}

#[test]
fn a_farewell_may_change_how_long_a_session_is_kept_but_not_whether() {
    const KEEP_9: &[u8] = &[0, 5, 0x11, 0, 0, 0, 9];
    let left = |asked: u8, farewell: &[u8]| {
        let head = [&[0, 4][..], b"MQTT", &[5, 2, 0, 60], &[5, 0x11, 0, 0, 0, asked]].concat();
        let mut machine = Machine::new(BOUNDS);
        let mut events = feed(&mut machine, &packet(0x10, &[&head, &field("c")]));
        machine.open(&TERMS, &mut events);
        machine.out().clear();
        let events = feed(&mut machine, &packet(0xe0, &[farewell]));
        (events, machine.out().clone())
    };
    let (events, _) = left(1, KEEP_9);
    assert!(matches!(events[..], [Event::Left { with_will: false, session_expiry: Some(9) }]), "{events:?}");
    let (events, _) = left(0, &[0, 5, 0x11, 0, 0, 0, 0]);
    assert!(matches!(events[..], [Event::Left { with_will: false, session_expiry: Some(0) }]), "{events:?}");
    let (events, out) = left(0, KEEP_9);
    assert!(matches!(events[..], [Event::Failed(_)]), "its will is published: {events:?}");
    assert_eq!(out[..3], [0xe0, out.len() as u8 - 2, 0x82]);
}

#[test]
fn a_client_gets_nothing_larger_than_it_takes() {
    let head = [&[0, 4][..], b"MQTT", &[5, 2, 0, 60], &[5, 0x27, 0, 0, 0, 40]].concat();
    let mut machine = Machine::new(BOUNDS);
    let mut events = feed(&mut machine, &packet(0x10, &[&head, &field("c")]));
    machine.open(&TERMS, &mut events);
    machine.out().clear();
    assert!(!machine.publish("a", &[b'x'; 40], Some(1), false) && machine.out().is_empty());
    assert!(machine.publish("a", b"x", Some(1), true));
    assert_eq!(*machine.out(), [0x3a, 7, 0, 1, b'a', 0, 1, 0, b'x']);
    assert!(feed(&mut machine, &[0x40, 2, 0, 1]).iter().all(|event| matches!(event, Event::Acked(1))));
}
