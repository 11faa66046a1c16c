//! A shard as far as the rules can see one: devices with wake-ups, time that moves with the log, and a journal.

use bytes::Bytes;
use telemill_engine::clock::{LogTime, Timestamp};
use telemill_engine::device_id::DeviceId;
use telemill_engine::keyed::{Effects, Input, Keyed, Now};
use telemill_engine::position::{Cursor, Position, TopicId};
use telemill_engine::record::{EventId, Kind, Record};
use telemill_engine::stage::Outlet;
use ulid::Ulid;
use uuid::Uuid;

use super::super::{AlertEvaluator, Session};

pub(super) const WALL: u64 = 1_700_000_000_000;

/// What comes next in the log, and at which log time.
#[derive(Clone, Debug)]
pub(super) struct Next {
    pub(super) log: u64,
    /// A record of this device with this payload; none: a mark.
    pub(super) record: Option<(usize, String)>,
    /// With it there is no room any more for this device.
    pub(super) forgets: Option<usize>,
}

/// What a shard may do one way or the other, and the rules must not mind.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ways {
    /// A timer's time is its deadline, rather than that of what moved the time to it.
    pub(super) timers_at_deadline: bool,
    /// A timer's cursor and cause already count the mark that moved the time to it.
    pub(super) timers_count_marks: bool,
    /// The same of a record.
    pub(super) timers_count_records: bool,
    /// There are no marks: the records are the clock.
    pub(super) no_marks: bool,
    /// A timer that comes before the first mark of a new life has no position to name as its cause.
    pub(super) forgets_clock: bool,
}

#[derive(Clone)]
struct Hosted {
    device: DeviceId,
    /// None before the device's first record.
    session: Option<Session>,
    wake: Option<LogTime>,
}

pub(super) struct Shard {
    pub(super) stage: AlertEvaluator,
    ways: Ways,
    topics: u128,
    devices: Vec<Hosted>,
    log: LogTime,
    cursor: Cursor,
    /// The last mark, or the last record where there are no marks.
    clock: Position,
    pub(super) journal: Vec<Record>,
    /// What the journal has of the life before, and this one has not come to.
    pub(super) ahead: Vec<Record>,
}

/// What outlives a crash besides the journal.
#[derive(Clone)]
pub(super) struct Checkpoint {
    sessions: Vec<Option<Vec<u8>>>,
    log: LogTime,
    cursor: Cursor,
    clock: Position,
}

/// Records stand in the first of a shard's topics, marks in the one behind it.
fn topic(number: u128) -> TopicId {
    TopicId(Uuid::from_u128(number))
}

fn position(topic: TopicId, offset: usize) -> Position {
    Position { topic, partition: 0, offset: offset as i64, output: 0 }
}

impl Shard {
    pub(super) fn new(stage: AlertEvaluator, devices: usize, ways: Ways) -> Self {
        let device = |n: usize| Hosted { device: format!("d{n}").parse().unwrap(), session: None, wake: None };
        Shard {
            stage,
            ways,
            topics: 1,
            devices: (0..devices).map(device).collect(),
            log: LogTime(0),
            cursor: Cursor::default(),
            clock: position(topic(0), 0),
            journal: Vec::new(),
            ahead: Vec::new(),
        }
    }

    /// Handles what stands at `offset` of its topic.
    pub(super) fn handle(&mut self, offset: usize, next: &Next) {
        let place = position(topic(self.topics + u128::from(next.record.is_none())), offset);
        let is_clock = next.record.is_none() || self.ways.no_marks;
        let to = LogTime(next.log).max(self.log);
        let counts = if next.record.is_some() { self.ways.timers_count_records } else { self.ways.timers_count_marks };
        if counts {
            self.pass(place, is_clock);
        }
        self.fire_until(to);
        self.pass(place, is_clock);
        self.log = to;
        if let Some(device) = next.forgets.filter(|device| self.devices[*device].session.is_some()) {
            self.step(device, Input::Forgotten, if is_clock { self.clock } else { place });
            (self.devices[device].session, self.devices[device].wake) = (None, None);
        }
        if let Some((device, payload)) = &next.record {
            let id = EventId(Ulid::from_parts(WALL + to.0, offset as u128 + 1));
            let name = self.devices[*device].device.clone();
            let payload = Bytes::copy_from_slice(payload.as_bytes());
            let record = Record::new(id, name, Kind::Data, payload, Timestamp(WALL + to.0));
            self.open(*device, &record);
            self.step(*device, Input::Record(&record), place);
        }
        let Shard { stage, cursor, .. } = self;
        let cause = |record: &Record| stage.cause_of(record).expect("it was written here");
        let is_passed = |cause: Position| cursor.get(cause.topic).is_some_and(|done| done > cause.offset);
        self.ahead.retain(|record| !is_passed(cause(record)));
    }

    /// A session for a device that has none, which knows what the journal has of it already.
    fn open(&mut self, index: usize, first: &Record) {
        if self.devices[index].session.is_some() {
            return;
        }
        let now = Now { log: self.log, wall: first.received_at, cursor: &self.cursor, cause: self.clock };
        self.devices[index].session = Some(self.stage.open(&first.device, Some(first.id), now));
        for record in self.ahead.clone().iter().filter(|record| record.device == first.device) {
            self.step(index, Input::Journal(record), self.clock);
        }
    }

    /// Records of devices that are not ours have come up to `offset`.
    pub(super) fn pass_elsewhere(&mut self, offset: usize) {
        self.pass(position(topic(self.topics), offset), false);
    }

    /// From now on everything comes from topics that were made anew.
    pub(super) fn rename_topics(&mut self) {
        self.topics += 2;
    }

    fn pass(&mut self, place: Position, is_clock: bool) {
        self.cursor.advance(place.topic, place.offset);
        if is_clock {
            self.clock = place;
        }
    }

    fn fire_until(&mut self, to: LogTime) {
        for round in 0.. {
            assert!(round < 1_000, "a timer that is asked for over and over at {to:?}");
            let due = |(index, hosted): (usize, &Hosted)| Some((hosted.wake.filter(|at| *at <= to)?, index));
            let Some((at, index)) = self.devices.iter().enumerate().filter_map(due).min() else { break };
            self.devices[index].wake = None;
            self.log = if self.ways.timers_at_deadline { at.max(self.log) } else { to };
            self.step(index, Input::Timer, self.clock);
        }
    }

    fn step(&mut self, index: usize, input: Input<'_>, cause: Position) {
        let now = Now { log: self.log, wall: Timestamp(WALL + self.log.0), cursor: &self.cursor, cause };
        let silent = matches!(input, Input::Journal(_));
        let Hosted { device, session, wake } = &mut self.devices[index];
        let session = session.get_or_insert_with(|| self.stage.open(device, None, now));
        let mut out = Effects::default();
        self.stage.step(device, session, input, now, &mut out).unwrap();
        assert!(!out.is_forwarded());
        assert!(!silent || out.emitted().is_empty(), "what is applied is not said again");
        if let Some(asked) = out.requested_wake() {
            *wake = asked;
        }
        assert!(wake.is_none() || !self.stage.may_passivate(session, now), "it waits for a timer");
        for (outlet, record) in out.emitted() {
            assert_eq!(*outlet, Outlet::MAIN);
            self.journal.push(record.clone());
        }
    }

    pub(super) fn session(&self, index: usize) -> &Session {
        self.devices[index].session.as_ref().expect("the device was heard of")
    }

    pub(super) fn wake(&self, index: usize) -> Option<LogTime> {
        self.devices[index].wake
    }

    pub(super) fn may_passivate(&self, index: usize) -> bool {
        let now = Now { log: self.log, wall: Timestamp(WALL), cursor: &self.cursor, cause: self.clock };
        self.stage.may_passivate(self.session(index), now)
    }

    pub(super) fn checkpoint(&self) -> Checkpoint {
        let encode = |hosted: &Hosted| hosted.session.as_ref().map(|s| postcard::to_stdvec(s).unwrap());
        Checkpoint {
            sessions: self.devices.iter().map(encode).collect(),
            log: self.log,
            cursor: self.cursor.clone(),
            clock: self.clock,
        }
    }

    /// A new life from a checkpoint, and from the journal behind `from`. Where there is no checkpoint, the journal is all
    /// that is known of a device.
    pub(super) fn restore(&mut self, checkpoint: &Checkpoint, from: usize, is_lost: bool) {
        let Checkpoint { sessions, log, cursor, clock } = checkpoint.clone();
        let clock = if self.ways.forgets_clock { Position::default() } else { clock };
        (self.log, self.cursor, self.clock) = (log, cursor, clock);
        for (hosted, bytes) in self.devices.iter_mut().zip(sessions) {
            let mut out = Effects::default();
            hosted.session = bytes.map(|bytes| postcard::from_bytes(&bytes).unwrap());
            if let Some(session) = &hosted.session {
                self.stage.restored(session, &mut out);
            }
            hosted.wake = out.requested_wake().flatten();
            assert!(out.emitted().is_empty());
        }
        for at in from..self.journal.len() {
            let record = self.journal[at].clone();
            let index = self.devices.iter().position(|hosted| hosted.device == record.device).unwrap();
            if is_lost || self.devices[index].session.is_some() {
                self.step(index, Input::Journal(&record), clock);
            }
        }
        self.ahead = if is_lost { Vec::new() } else { self.journal[from..].to_vec() };
    }

    /// The journal's messages, device by device: between devices there is no order.
    pub(super) fn messages(&self) -> Vec<String> {
        let mut records: Vec<&Record> = self.journal.iter().collect();
        records.sort_by_key(|record| &record.device);
        let message = |record: &&Record| {
            let mut text = String::from_utf8(record.payload.to_vec()).unwrap();
            let cause = text.find(r#","cause":"#).expect("every transition has a cause");
            if self.ways.forgets_clock {
                text.replace_range(cause.., "}");
            }
            text
        };
        records.iter().map(message).collect()
    }
}
