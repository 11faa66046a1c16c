mod settings;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use telemill_engine::clock::{LogTime, Timestamp};
use telemill_engine::device_id::DeviceId;
use telemill_engine::keyed::{Effects, Input, Keyed, Now, Presence};
use telemill_engine::position::{Cursor, Position, TopicId};
use telemill_engine::record::{EventId, Kind, Reason, Record, Sent};
use telemill_engine::stage::{Outlet, StageError};
use ulid::Ulid;

use self::settings::{checked, identity, spec};
use super::queue::{MAX_BYTES, MAX_COMMANDS};
use super::session::{Connected, Session};
use super::{DeviceSession, DeviceSessionSpec};

/// Wall time runs this far ahead of log time.
const WALL: u64 = 1_700_000_000_000;

/// A session on a shard whose time moves by hand.
struct Rig {
    stage: DeviceSession,
    device: DeviceId,
    session: Session,
    log: u64,
    cursor: Cursor,
    ids: u64,
}

impl Rig {
    fn new() -> Self {
        let stage = DeviceSession { offline_after: Duration::from_secs(60), last_payload: 16, identity: None };
        let device = "d1".parse().unwrap();
        Rig { stage, device, session: Session::default(), log: 0, cursor: Cursor::default(), ids: 0 }
    }

    fn step(&mut self, input: Input<'_>) -> Result<Effects, StageError> {
        let before = self.session.clone();
        let cause = Position { topic: TopicId::default(), partition: 0, offset: 0, output: 0 };
        let now = Now { log: LogTime(self.log), wall: Timestamp(WALL + self.log), cursor: &self.cursor, cause };
        let mut out = Effects::default();
        match self.stage.step(&self.device, &mut self.session, input, now, &mut out) {
            Ok(()) => Ok(out),
            Err(refused) => {
                self.session = before;
                Err(refused)
            }
        }
    }

    fn record(&mut self, kind: Kind, payload: &str) -> Record {
        self.ids += 1;
        let id = EventId(Ulid::from_parts(WALL, u128::from(self.ids)));
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        Record::new(id, self.device.clone(), kind, payload, Timestamp(WALL + self.log))
    }

    fn heard(&mut self, kind: Kind, payload: &str) -> Effects {
        let record = self.record(kind, payload);
        self.step(Input::Record(&record)).unwrap()
    }

    /// What is said for the device when it is gone.
    fn will(&mut self) -> Effects {
        let sent = Sent { will: true, ..Sent::default() };
        let record = Record { sent, ..self.record(Kind::Data, "1") };
        self.step(Input::Record(&record)).unwrap()
    }

    fn timer(&mut self) -> Effects {
        self.step(Input::Timer).unwrap()
    }

    /// A command that may wait for so many milliseconds; 0 has expired.
    fn command(&mut self, payload: &str, ttl: Option<u64>) -> Result<Effects, StageError> {
        let mut record = self.record(Kind::Command, payload);
        let expires_at = ttl.map_or("null".to_owned(), |ttl| (WALL + self.log + ttl).to_string());
        record.message = Some(format!(r#"{{"payload":{payload},"expires_at":{expires_at}}}"#).into());
        self.step(Input::Record(&record))
    }

    fn restored(&self) -> Effects {
        let mut out = Effects::default();
        self.stage.restored(&self.session, &mut out);
        out
    }

    fn may_passivate(&self) -> bool {
        let cause = Position { topic: TopicId::default(), partition: 0, offset: 0, output: 0 };
        let now = Now { log: LogTime(self.log), wall: Timestamp(WALL + self.log), cursor: &self.cursor, cause };
        self.stage.may_passivate(&self.session, now)
    }
}

/// What was emitted, as `outlet body`.
fn emitted(out: &Effects) -> Vec<String> {
    let outlets = ["main", "presence", "commands", "expired"];
    let line = |(outlet, record): &(Outlet, Record)| {
        let body = record.message.as_ref().unwrap_or(&record.payload);
        format!("{} {}", outlets[usize::from(outlet.0)], std::str::from_utf8(body).unwrap())
    };
    out.emitted().iter().map(line).collect()
}

/// The last bytes of each body on `commands` and `expired`.
fn endings(out: &Effects) -> Vec<(u8, String)> {
    let ending = |(outlet, record): &(Outlet, Record)| {
        let text = std::str::from_utf8(&record.payload).unwrap();
        (outlet.0, text[text.len() - 2..text.len() - 1].to_owned())
    };
    out.emitted().iter().filter(|(outlet, _)| outlet.0 > 1).map(ending).collect()
}

fn refusal(result: Result<Effects, StageError>) -> &'static str {
    match result {
        Err(StageError::Reject { reason, permanent: true, .. }) => reason.0,
        other => panic!("expected a refusal for good, got {other:?}"),
    }
}

#[test]
fn the_first_record_makes_a_device_online() {
    let mut rig = Rig::new();
    rig.log = 500;
    let out = rig.heard(Kind::Hello, "null");
    let at = WALL + 500;
    let event = format!(r#"presence {{"v":1,"device_id":"d1","state":"online","at":{at},"sequence":1}}"#);
    assert_eq!(emitted(&out), [event]);
    assert!(out.is_forwarded());
    assert_eq!(out.requested_wake(), Some(Some(LogTime(60_500))));
    assert_eq!(out.shown_presence(), Some(Presence { online: true, since: Timestamp(at) }));

    rig.log = 1_000;
    let out = rig.heard(Kind::Data, "{}");
    assert!(out.is_forwarded() && out.emitted().is_empty());
    assert_eq!((out.requested_wake(), out.shown_presence()), (None, None), "the next record costs neither");
    let Session { first_seen, last_seen, heard_at, data, hello, .. } = rig.session;
    assert_eq!((first_seen, last_seen, heard_at), (Timestamp(at), Timestamp(WALL + 1_000), LogTime(1_000)));
    assert_eq!((data, hello), (1, 1));
}

#[test]
fn silence_is_counted_from_the_last_record() {
    let mut rig = Rig::new();
    rig.heard(Kind::Data, "{}");
    rig.log = 45_000;
    rig.heard(Kind::Hello, "");
    rig.log = 60_000;
    let out = rig.timer();
    assert!(out.emitted().is_empty());
    assert_eq!(out.requested_wake(), Some(Some(LogTime(105_000))), "the timer came for the first record");
    rig.log = 105_000;
    let out = rig.timer();
    let at = WALL + 105_000;
    let event = format!(r#"presence {{"v":1,"device_id":"d1","state":"offline","at":{at},"sequence":2}}"#);
    assert_eq!(emitted(&out), [event]);
    assert_eq!(out.shown_presence(), Some(Presence { online: false, since: Timestamp(at) }));
    assert_eq!(out.requested_wake(), None);
    assert!(rig.may_passivate());
    rig.log = 200_000;
    assert!(emitted(&rig.heard(Kind::Data, "{}"))[0].contains(r#""state":"online","at":1700000200000,"sequence":3"#));
}

#[test]
fn a_will_makes_a_device_offline_at_once_and_never_online() {
    let mut rig = Rig::new();
    let out = rig.will();
    assert!(out.is_forwarded() && out.emitted().is_empty(), "it was never heard of");
    rig.heard(Kind::Data, "{}");
    rig.log = 500;
    let out = rig.will();
    let at = WALL + 500;
    let event = format!(r#"presence {{"v":1,"device_id":"d1","state":"offline","at":{at},"sequence":2}}"#);
    assert_eq!(emitted(&out), [event]);
    assert!(out.is_forwarded() && rig.will().emitted().is_empty());
    assert_eq!((rig.session.data, endings(&rig.heard(Kind::Data, "{}")).len()), (1, 0));
    assert_eq!(rig.session.presence().map(|presence| presence.online), Some(true));
}

#[test]
fn events_of_one_change_have_one_id_and_of_two_changes_two() {
    let id_of = |rig: &mut Rig| rig.heard(Kind::Data, "{}").emitted()[0].1.id;
    let (mut one, mut again) = (Rig::new(), Rig::new());
    let first = id_of(&mut one);
    assert_eq!(first, id_of(&mut again));
    assert_eq!(first.0.timestamp_ms(), WALL);
    one.session.connected = Connected::Offline;
    assert_ne!(first, id_of(&mut one));
    again.device = "d2".parse().unwrap();
    again.session = Session::default();
    assert_ne!(first, id_of(&mut again));
}

#[test]
fn only_what_a_device_sends_makes_it_online() {
    let check = |kind: Kind, online: bool, counted: (u64, u32)| {
        let mut rig = Rig::new();
        let out = rig.heard(kind.clone(), "{}");
        assert!(out.is_forwarded(), "{kind}");
        assert_eq!(out.shown_presence().is_some(), online, "{kind}");
        assert_eq!((rig.session.data, rig.session.hello), counted, "{kind}");
    };
    check(Kind::Data, true, (1, 0));
    check(Kind::Hello, true, (0, 1));
    check(Kind::Other("status".into()), true, (1, 0));
    check(Kind::Presence, false, (0, 0));
    check(Kind::Alert, false, (0, 0));
}

#[test]
fn the_last_payload_is_kept_up_to_its_limit() {
    let mut rig = Rig::new();
    let mut check = |kind: Kind, payload: &str, expect: &'static [u8]| {
        rig.heard(kind, payload);
        assert_eq!(*rig.session.last_payload, *expect);
    };
    check(Kind::Data, r#"{"t":1}"#, br#"{"t":1}"#);
    check(Kind::Hello, "null", br#"{"t":1}"#);
    check(Kind::Data, r#"{"at limit": 1 }"#, br#"{"at limit": 1 }"#);
    check(Kind::Data, r#"{"over limit": 1}"#, b"");
}

#[test]
fn a_command_reaches_an_online_device_at_once() {
    let mut rig = Rig::new();
    rig.heard(Kind::Hello, "");
    for ttl in [None, Some(10)] {
        let out = rig.command(r#"{"fan":1}"#, ttl).unwrap();
        let [(outlet, sent)] = out.emitted() else { panic!("one command: {out:?}") };
        assert_eq!((*outlet, &sent.kind), (Outlet(2), &Kind::Command));
        assert_eq!(sent.payload, format!(r#"{{"command_id":"{}","fan":1}}"#, sent.id));
        assert!(!out.is_forwarded(), "a command is taken out of the stream");
    }
    assert_eq!(refusal(rig.command("{}", Some(0))), "expired");
    assert_eq!(rig.session.commands, 2);
}

#[test]
fn a_command_to_an_offline_device_waits_or_is_refused() {
    let mut known = Rig::new();
    known.heard(Kind::Hello, "");
    known.log = 60_000;
    known.timer();
    for mut rig in [Rig::new(), known] {
        let presence = rig.session.presence();
        assert_eq!(refusal(rig.command("{}", None)), "offline");
        assert_eq!(refusal(rig.command("{}", Some(0))), "expired");
        assert!(rig.may_passivate(), "nothing was kept of them");
        for (name, ttl) in [("1", 5_000), ("2", 90_000), ("3", 1_000), ("4", 70_000)] {
            let out = rig.command(&format!("{{\"n\":{name}}}"), Some(ttl)).unwrap();
            assert!(out.emitted().is_empty() && !out.is_forwarded());
            assert_eq!(out.shown_presence(), None, "a command makes nothing online");
        }
        assert_eq!(rig.session.presence(), presence);
        assert!(!rig.may_passivate());
        let start = rig.log;
        assert_eq!(rig.restored().requested_wake(), Some(Some(LogTime(start + 1_000))));

        rig.log = start + 1_000;
        let out = rig.timer();
        assert_eq!(emitted(&out), [r#"expired {"n":3}"#], "as it was posted");
        assert_eq!(out.requested_wake(), Some(Some(LogTime(start + 5_000))));

        // The wake-up for `1` was late, or did not come.
        rig.log = start + 70_000;
        let out = rig.heard(Kind::Hello, "");
        let expect = [(3, "1".to_owned()), (2, "2".to_owned()), (3, "4".to_owned())];
        assert_eq!(endings(&out), expect, "in the order in which they came");
        assert!(emitted(&out)[0].starts_with("presence"), "the device is online before it gets them");
        assert_eq!(rig.session.queue, None);
    }
}

#[test]
fn a_wake_up_before_its_time_is_asked_for_again() {
    let mut rig = Rig::new();
    rig.command("{}", Some(1_000)).unwrap();
    rig.log = 400;
    let out = rig.timer();
    assert!(out.emitted().is_empty());
    assert_eq!(out.requested_wake(), Some(Some(LogTime(1_000))));
    rig.log = 1_000;
    let out = rig.timer();
    assert_eq!((emitted(&out).len(), out.requested_wake()), (1, None));
    assert!(rig.may_passivate());
}

#[test]
fn what_waits_is_bounded_in_number_and_bytes() {
    let mut rig = Rig::new();
    for _ in 0..MAX_COMMANDS {
        rig.command("{}", Some(1_000)).unwrap();
    }
    assert_eq!(refusal(rig.command("{}", Some(1_000))), "queue_full");
    assert_eq!(rig.session.queue.as_ref().unwrap().len(), MAX_COMMANDS);

    let mut rig = Rig::new();
    let half = format!("\"{}\"", "x".repeat(MAX_BYTES / 2 - 2));
    rig.command(&half, Some(1_000)).unwrap();
    rig.command(&half, Some(1_000)).unwrap();
    assert_eq!(refusal(rig.command("1", Some(1_000))), "queue_full");
    rig.log = 1_000;
    assert_eq!(rig.timer().emitted().len(), 2);
    rig.command("1", Some(1_000)).expect("there is room again");
}

#[test]
fn a_restored_session_asks_for_what_it_waits_for() {
    let mut rig = Rig::new();
    assert_eq!((rig.restored().shown_presence(), rig.restored().requested_wake()), (None, None));
    rig.heard(Kind::Data, "{}");
    rig.log = 30_000;
    rig.heard(Kind::Data, "{}");
    assert_eq!(rig.restored().shown_presence(), Some(Presence { online: true, since: Timestamp(WALL) }));
    assert_eq!(rig.restored().requested_wake(), Some(Some(LogTime(90_000))));
    assert!(!rig.may_passivate());
    rig.log = 90_000;
    rig.timer();
    assert_eq!(rig.restored().shown_presence(), rig.session.presence());
    assert_eq!(rig.restored().requested_wake(), None);
}

#[test]
fn a_session_is_small() {
    assert_eq!(size_of::<Session>() - size_of::<Arc<[u8]>>(), 88, "without the last payload");
    let mut rig = Rig::new();
    rig.log = 1 << 40;
    rig.heard(Kind::Hello, "null");
    assert!(postcard::to_stdvec(&rig.session).unwrap().len() <= 60);
}

/// One thing that happens to a device.
#[derive(Clone, Debug)]
enum Event {
    Heard(Kind),
    Command(Option<u64>),
    Timer,
}

fn event() -> impl Strategy<Value = (u64, Event)> {
    let kind = prop_oneof![Just(Kind::Data), Just(Kind::Hello)];
    let ttl = proptest::option::of(0u64..100_000);
    let event = prop_oneof![
        4 => kind.prop_map(Event::Heard),
        2 => ttl.prop_map(Event::Command),
        2 => Just(Event::Timer),
    ];
    (0u64..40_000, event)
}

/// Everything visible of a run; `reload` says before which events the session goes through its checkpoint form.
fn transcript(events: &[(u64, Event)], reload: &dyn Fn(usize) -> bool) -> Vec<String> {
    let mut rig = Rig::new();
    let mut seen = Vec::new();
    for (index, (pause, event)) in events.iter().enumerate() {
        if reload(index) {
            let bytes = postcard::to_stdvec(&rig.session).unwrap();
            rig.session = postcard::from_bytes(&bytes).unwrap();
        }
        rig.log += pause;
        let result = match event {
            Event::Heard(kind) => Ok(rig.heard(kind.clone(), "{}")),
            Event::Command(ttl) => rig.command(r#"{"n":1}"#, *ttl),
            Event::Timer => Ok(rig.timer()),
        };
        seen.push(format!("{result:?}"));
        let queued = rig.session.queue.as_ref().map_or(0, |queue| queue.len());
        assert!(queued == 0 || !rig.session.is_online(), "nothing waits for a device that is there");
    }
    seen
}

proptest! {
    #[test]
    fn a_replay_from_any_checkpoint_says_the_same(
        events in proptest::collection::vec(event(), 0..60),
        reloads in proptest::collection::vec(any::<bool>(), 60),
    ) {
        let once = transcript(&events, &|_| false);
        prop_assert_eq!(once, transcript(&events, &|index| reloads[index]));
    }

    #[test]
    fn every_command_has_exactly_one_end(events in proptest::collection::vec(event(), 0..60)) {
        let mut rig = Rig::new();
        let (mut given, mut ended) = (0, 0);
        let mut ends = |out: &Effects| ended += out.emitted().iter().filter(|(outlet, _)| outlet.0 > 1).count();
        for (pause, event) in &events {
            rig.log += pause;
            match event {
                Event::Heard(kind) => ends(&rig.heard(kind.clone(), "{}")),
                Event::Timer => ends(&rig.timer()),
                Event::Command(ttl) => {
                    if let Ok(out) = rig.command("{}", *ttl) {
                        given += 1;
                        ends(&out);
                    }
                }
            }
        }
        ends(&rig.heard(Kind::Hello, ""));
        prop_assert_eq!(given, ended);
    }
}

#[test]
fn who_is_forgotten_is_offline_and_its_commands_have_expired() {
    let mut rig = Rig::new();
    rig.heard(Kind::Hello, "");
    let out = rig.step(Input::Forgotten).unwrap();
    let offline = r#"{"v":1,"device_id":"d1","state":"offline","at":1700000000000,"sequence":2}"#;
    assert_eq!(emitted(&out), [format!("presence {offline}")]);
    let mut rig = Rig::new();
    rig.command("1", Some(1000)).unwrap();
    rig.command("2", Some(9000)).unwrap();
    let out = rig.step(Input::Forgotten).unwrap();
    let expired: Vec<_> = emitted(&out).into_iter().map(|line| line.starts_with("expired ")).collect();
    assert_eq!(expired, [true, true], "and no presence: it was never heard of");
    // One that may leave memory has nothing to say.
    let mut rig = Rig::new();
    rig.heard(Kind::Hello, "");
    rig.log += 60_000;
    rig.timer();
    assert!(rig.may_passivate());
    assert_eq!(emitted(&rig.step(Input::Forgotten).unwrap()), Vec::<String>::new());
}

/// A rig whose stage knows messages by `payload.id`.
fn knowing(identity_json: &str) -> Rig {
    let (stage, problems) = checked(DeviceSessionSpec { identity: identity(identity_json), ..spec() });
    assert_eq!(problems, []);
    let mut rig = Rig::new();
    rig.stage.identity = stage.unwrap().identity;
    rig
}

#[test]
fn what_a_device_sent_twice_is_dropped_within_the_window() {
    let mut rig = knowing(r#"{"from":"payload.id","window":2}"#);
    let mut check = |payload: &str, dropped: bool| {
        let out = rig.heard(Kind::Data, payload);
        assert_eq!(out.dropped(), dropped.then_some(Reason::DUPLICATE), "{payload}");
        assert_eq!(out.is_forwarded(), !dropped, "{payload}");
    };
    check(r#"{"id":"a"}"#, false);
    check(r#"{"id":"b"}"#, false);
    check(r#"{"t":9,"id":"a"}"#, true);
    check(r#"{"id":"c"}"#, false);
    check(r#"{"id":"a"}"#, false);
    check(r#"{"id":"c"}"#, true);
    // Numbers, quoted or not.
    check(r#"{"id":7}"#, false);
    check(r#"{"id":"7"}"#, true);
    // These are no ids: nothing is known of them, and nothing forgotten for them.
    for payload in [r#"{"t":1}"#, r#"{"id":null}"#, r#"{"id":1.5}"#, r#"{"id":18446744073709551615}"#, "[1]", "7"] {
        check(payload, false);
        check(payload, false);
    }
    check(r#"{"id":"a"}"#, true);
    assert_eq!(rig.session.data, 17, "what was dropped is no news");
    let out = rig.heard(Kind::Hello, r#"{"id":"a"}"#);
    assert!(out.is_forwarded() && out.dropped().is_none(), "a keep-alive has no identity");
}

#[test]
fn a_device_that_repeats_itself_is_there() {
    let mut rig = knowing(r#""payload.id""#);
    rig.heard(Kind::Data, r#"{"id":1}"#);
    rig.log = 60_000;
    rig.timer();
    assert_eq!(rig.session.connected, Connected::Offline);
    let out = rig.heard(Kind::Data, r#"{"id":1}"#);
    assert_eq!(out.dropped(), Some(Reason::DUPLICATE));
    assert_eq!((rig.session.connected, out.emitted().len()), (Connected::Online, 1));
    // The window is a part of the state.
    let bytes = postcard::to_stdvec(&rig.session).unwrap();
    rig.session = postcard::from_bytes(&bytes).unwrap();
    assert_eq!(rig.heard(Kind::Data, r#"{"id":1}"#).dropped(), Some(Reason::DUPLICATE));
}

#[test]
fn a_session_of_the_first_form_is_read() {
    let mut rig = Rig::new();
    rig.heard(Kind::Data, r#"{"id":1}"#);
    rig.command("{}", None).unwrap();
    // The first form had all but the last field, which is one byte where there is nothing in it.
    let now = postcard::to_stdvec(&rig.session).unwrap();
    let first = &now[..now.len() - 1];
    assert_eq!(DeviceSession::read_earlier(1, first), Ok(rig.session.clone()));
    assert!(DeviceSession::read_earlier(1, &first[..first.len() - 1]).is_err());
    assert!(DeviceSession::read_earlier(3, &now).is_err(), "a later form is refused, not guessed at");
}
