//! One input through the keyed stages of a shard.
//!
//! A record is stepped through the stages in the order of their wiring, all for the same device. Each step commits by
//! itself; a step that panics or is refused leaves its session as it was, and the record waits in the session's inbox,
//! where it is tried again with back-off. Later records of the device wait behind it; other devices do not notice.
//! After `max_attempts` the record goes to the dead letters and the inbox goes on.

use std::time::Duration;

use tokio::time::Instant;

use crate::clock::{LogTime, Timestamp};
use crate::keyed::{Effects, Input, Now};
use crate::position::{Cursor, Position};
use crate::record::{Reason, Record};
use crate::retry::Backoff;
use crate::runtime::cell::seed_of;
use crate::runtime::dead_letters::dead;
use crate::runtime::directory::Directory;
use crate::runtime::host::{KeyedHost, StepFailure};
use crate::stage::{Outlet, StageError};

use super::ahead::Ahead;
use super::group::GroupStage;
use super::outbox::Outbox;
use super::silence::Silence;
use super::table::{Inbox, NEVER, Parked, SessionTable, Waiting};
use super::wheel::Wheel;

/// The states and outputs of a shard: everything that a step touches.
pub(super) struct Sessions {
    pub(super) table: SessionTable,
    pub(super) wheel: Wheel,
    pub(super) stages: Vec<Hosted>,
    pub(super) entry: Vec<usize>,
    pub(super) cursor: Cursor,
    /// The position of the last mark, or of the last record where there are none: what a timer is put down to.
    pub(super) last_mark: Option<Position>,
    pub(super) directory: Directory,
    /// Slots that are backing off, by when they are tried again.
    pub(super) retries: std::collections::BTreeSet<(Instant, u32)>,
    /// Records given up, to be handed to the dead letters with the next flush.
    pub(super) given_up: Vec<Record>,
    pub(super) scratch: Effects,
    pub(super) turn: u64,
    pub(super) silence: Silence,
    /// Transitions of the journal that the shard has not come to yet.
    pub(super) ahead: Ahead,
}

/// A stage in a shard.
pub(super) struct Hosted {
    pub(super) spec: GroupStage,
    pub(super) host: Box<dyn KeyedHost>,
    /// What waits to be sent, by outlet.
    pub(super) out: Vec<Outbox>,
    pub(super) tally: Tally,
}

/// What a step has made.
#[derive(Default)]
struct Made {
    /// Its record is handed on as it is.
    forward: bool,
    emitted: Vec<(Outlet, Record)>,
}

/// Counts that go to the stage's ledger once a batch.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) received: usize,
    pub(super) forwarded: usize,
    pub(super) absorbed: usize,
    pub(super) dropped: Vec<(Reason, usize)>,
}

impl Tally {
    fn drop(&mut self, reason: Reason) {
        match self.dropped.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count += 1,
            None => self.dropped.push((reason, 1)),
        }
    }
}

/// What a stage is given. A record is large: one that nobody needs afterwards is moved once, out of where it lies, and
/// never copied on its way.
pub(super) enum Given<'r> {
    Timer,
    /// The device is forgotten.
    Forgotten,
    /// Somebody else still needs it.
    Lent(&'r Record),
    /// There until it is taken.
    Own(&'r mut Option<Record>),
}

impl Given<'_> {
    fn record(&self) -> Option<&Record> {
        match self {
            Given::Timer | Given::Forgotten => None,
            Given::Lent(record) => Some(record),
            Given::Own(record) => record.as_ref(),
        }
    }

    fn input(&self) -> Input<'_> {
        match (self, self.record()) {
            (Given::Forgotten, _) => Input::Forgotten,
            (_, Some(record)) => Input::Record(record),
            (_, None) => Input::Timer,
        }
    }

    fn into_record(self) -> Option<Record> {
        match self {
            Given::Timer | Given::Forgotten => None,
            Given::Lent(record) => Some(record.clone()),
            Given::Own(record) => record.take(),
        }
    }

    fn waiting(self, stage: usize) -> Waiting {
        if matches!(self, Given::Forgotten) {
            return Waiting::Forgotten(stage);
        }
        self.into_record().map_or(Waiting::Timer(stage), |record| Waiting::Record(stage, record))
    }
}

/// When an input happens. One that has to wait keeps it: what a step makes must not depend on how long it waited.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub(super) log: LogTime,
    pub(super) wall: Timestamp,
    /// What it is put down to, where it has no position of its own.
    pub(super) cause: Option<Position>,
    /// The running number of the input: what is made of it leaves the shard in this order.
    pub(super) turn: u64,
}

impl Sessions {
    /// The slots of these records' devices, where they have one. Looking all of them up before the first is stepped, and
    /// their states, too, lets the processor fetch side by side what it would else wait for one by one.
    pub(super) fn look_up(&self, records: &[Record]) -> Vec<Option<u32>> {
        let slots: Vec<Option<u32>> = records.iter().map(|record| self.table.find(&record.device)).collect();
        for stage in &self.stages {
            stage.host.prefetch(&slots);
        }
        slots
    }

    /// A record of a device whose session is in `slot`.
    #[inline]
    pub(super) fn record(&mut self, slot: u32, place: &mut Option<Record>, at: At) {
        let Some(entry) = self.table.get_mut(slot) else { return };
        entry.last_seen = at.log;
        self.silence.heard(at.log, &entry.name);
        let Some(last) = self.entry.len().checked_sub(1) else { return };
        for index in 0..last {
            let Some(record) = place.as_ref() else { return };
            self.step_or_park(self.entry[index], slot, Given::Lent(record), at, false);
        }
        self.step_or_park(self.entry[last], slot, Given::Own(place), at, false);
    }

    /// One step, unless the session is backing off: then it waits its turn.
    pub(super) fn step_or_park(&mut self, stage: usize, slot: u32, given: Given<'_>, at: At, counted: bool) {
        if let Some(inbox) = self.table.inbox_mut(slot).filter(|inbox| inbox.waiting) {
            inbox.put(Parked { what: given.waiting(stage), at, counted });
            return;
        }
        match self.step(stage, slot, given.input(), at, counted) {
            Ok(made) => self.hand_on(stage, slot, given, made, at),
            Err(failure) => self.park(slot, stage, given, at, failure),
        }
    }

    /// Calls every session whose time has come, the earliest first. One that is backing off hears of it in its turn.
    pub(super) fn fire_timers(&mut self, at: At) {
        let mut due = Vec::new();
        self.wheel.advance(at.log, &mut due);
        for (fired, slot) in due {
            // The slot may have been given to another device, or its wake-up put off: then there is another entry, or none.
            match self.table.get_mut(slot) {
                Some(entry) if entry.armed == fired => entry.armed = NEVER,
                _ => continue,
            }
            if self.is_waiting(slot) {
                continue;
            }
            let mut from = 0;
            while let Some(stage) = self.due(slot, from, at.log) {
                from = stage + 1;
                self.table.set_wanted(slot, stage, NEVER);
                let at = At { turn: self.next_turn(), ..at };
                self.step_or_park(stage, slot, Given::Timer, at, true);
            }
            self.arm(slot);
        }
        let waiting: Vec<u32> = self.retries.iter().map(|(_, slot)| *slot).collect();
        for slot in waiting {
            let at = At { turn: self.next_turn(), ..at };
            let inbox = self.inbox(slot);
            let is_news = inbox.queue.back().is_none_or(|last| last.at.log < at.log);
            if is_news {
                inbox.put(Parked { what: Waiting::Tick(0), at, counted: true });
            }
        }
    }

    fn is_waiting(&self, slot: u32) -> bool {
        self.table.inbox(slot).is_some_and(|inbox| inbox.waiting)
    }

    /// The cursor has come to a position.
    pub(super) fn advance(&mut self, position: Option<Position>) {
        if let Some(position) = position {
            self.cursor.advance(position.topic, position.offset);
        }
    }

    /// The number of the next input.
    pub(super) fn next_turn(&mut self) -> u64 {
        self.turn += 1;
        self.turn
    }

    /// The first input that is still being tried again.
    pub(super) fn held_up(&self) -> Option<u64> {
        let backing_off = self.retries.iter().filter_map(|(_, slot)| self.table.inbox(*slot));
        backing_off.flat_map(|inbox| inbox.queue.iter().map(|parked| parked.at.turn)).min()
    }

    /// Whether something may be sent while the input of turn `held_up` is being tried again.
    pub(super) fn may_send(&self, held_up: Option<u64>) -> bool {
        self.stages.iter().any(|s| s.out.iter().any(|out| out.may_leave(held_up)))
    }

    /// How many records wait to be sent.
    pub(super) fn unsent(&self) -> usize {
        self.stages.iter().flat_map(|s| s.out.iter().map(Outbox::len)).sum()
    }

    /// Tries the sessions again whose back-off has passed.
    pub(super) fn retry_due(&mut self, now: Instant) {
        while let Some((when, slot)) = self.retries.first().copied() {
            if when > now {
                return;
            }
            self.retries.pop_first();
            self.unpark(slot);
        }
    }

    fn unpark(&mut self, slot: u32) {
        loop {
            let Some(inbox) = self.table.inbox_mut(slot) else { return };
            inbox.waiting = false;
            let Some(parked) = inbox.queue.pop_front() else {
                self.table.close_inbox(slot);
                return self.arm(slot);
            };
            let Parked { what, at, counted } = parked;
            let mut is_last = false;
            let (stage, mut record) = match what {
                Waiting::Record(stage, record) => (stage, Some(record)),
                Waiting::Timer(stage) => (stage, None),
                Waiting::Forgotten(stage) => {
                    is_last = true;
                    (stage, None)
                }
                Waiting::Tick(from) => {
                    let Some(stage) = self.due(slot, from, at.log) else { continue };
                    self.table.set_wanted(slot, stage, NEVER);
                    // Another stage's may be due, too.
                    self.inbox(slot).queue.push_front(Parked { what: Waiting::Tick(stage + 1), at, counted });
                    (stage, None)
                }
            };
            let given = match (is_last, record.is_some()) {
                (true, _) => Given::Forgotten,
                (false, true) => Given::Own(&mut record),
                (false, false) => Given::Timer,
            };
            let stepped = self.step(stage, slot, given.input(), at, counted);
            match stepped {
                Ok(made) => {
                    self.hand_on(stage, slot, given, made, at);
                    let inbox = self.inbox(slot);
                    if !inbox.waiting {
                        inbox.attempts = 0;
                        inbox.backoff.reset();
                    }
                }
                Err(failure) => self.park(slot, stage, given, at, failure),
            }
            if self.inbox(slot).waiting {
                return;
            }
        }
    }

    /// One step of one stage.
    fn step(&mut self, stage: usize, slot: u32, input: Input<'_>, at: At, counted: bool) -> Result<Made, StepFailure> {
        let record = match input {
            Input::Record(record) => Some(record),
            Input::Timer | Input::Forgotten | Input::Journal(_) => None,
        };
        self.table.touch(slot);
        let Some(entry) = self.table.get(slot) else { return Ok(Made::default()) };
        let hosted = &mut self.stages[stage];
        if record.is_some() && !counted {
            hosted.tally.received += 1;
        }
        if record.is_some_and(|record| hosted.spec.common.gave_up_before(record)) {
            return Ok(Made::default());
        }
        let cause = record.and_then(|r| r.position).or(at.cause).unwrap_or_default();
        let now = Now { log: at.log, wall: at.wall, cursor: &self.cursor, cause };
        let effects = &mut self.scratch;
        let named;
        let device = match record {
            Some(record) if *record.device.name() == entry.name => &record.device,
            _ => {
                named = entry.device();
                &named
            }
        };
        hosted.host.step(slot, device, input, now, effects)?;
        let dropped = effects.dropped.take();
        if record.is_some() {
            match (dropped, effects.forward || !effects.emitted.is_empty()) {
                (Some(reason), _) => hosted.tally.drop(reason),
                (None, true) => hosted.tally.forwarded += 1,
                (None, false) => hosted.tally.absorbed += 1,
            }
        }
        if let Some(presence) = effects.presence.take() {
            self.directory.show(device, presence);
        }
        let made =
            Made { forward: std::mem::take(&mut effects.forward), emitted: std::mem::take(&mut effects.emitted) };
        if let Some(wake) = effects.wake_at.take() {
            self.table.set_wanted(slot, stage, wake.unwrap_or(NEVER));
            self.arm(slot);
        }
        Ok(made)
    }

    /// Hands on what a step has made: to stages of the group at once, to the outside with the next flush.
    fn hand_on(&mut self, stage: usize, slot: u32, given: Given<'_>, made: Made, at: At) {
        if made.forward {
            self.route(stage, Outlet::MAIN, slot, given, at);
        }
        for (outlet, record) in made.emitted {
            self.route(stage, outlet, slot, Given::Own(&mut Some(record)), at);
        }
    }

    fn route(&mut self, stage: usize, outlet: Outlet, slot: u32, given: Given<'_>, at: At) {
        // A timer that forwards has nothing to hand on.
        let Some(record) = given.record() else { return };
        for index in 0..self.stages[stage].spec.inner.len() {
            let (from, to) = self.stages[stage].spec.inner[index];
            if from == outlet {
                self.step_or_park(to, slot, Given::Lent(record), at, false);
            }
        }
        let hosted = &mut self.stages[stage];
        let wired = hosted.spec.outlets.get(usize::from(outlet.0)).is_some_and(|(_, targets)| !targets.is_empty());
        if let Some(record) = wired.then(|| given.into_record()).flatten() {
            hosted.out[usize::from(outlet.0)].push(at.turn, record);
        }
    }

    /// A step has failed: it waits for another try, or is given up.
    fn park(&mut self, slot: u32, stage: usize, given: Given<'_>, at: At, failure: StepFailure) {
        let common = self.stages[stage].spec.common.clone();
        let (topology, name) = (&common.cx.topology, &common.cx.stage);
        let (reason, detail, counts, permanent) = match failure {
            StepFailure::Panicked(message) => (Reason::PANIC, message, true, false),
            StepFailure::Refused(StageError::Reject { reason, detail, permanent }) => (reason, detail, true, permanent),
            StepFailure::Refused(StageError::Retry { reason, detail, .. }) => (reason, detail, false, false),
            StepFailure::Refused(StageError::Fatal(detail)) => (Reason("fatal"), detail, true, false),
        };
        if reason == Reason::PANIC {
            common.metrics.restarted("session_panic");
            tracing::warn!(code = "session_restarted", %topology, stage = %name, detail, "a session panicked and was put back as it was");
        }
        let inbox = self.inbox(slot);
        inbox.attempts += u32::from(counts);
        let attempts = inbox.attempts;
        let wait = if counts && (permanent || attempts >= common.limits.max_attempts) {
            inbox.attempts = 0;
            inbox.backoff.reset();
            match (given.record(), &given) {
                (Some(record), _) => {
                    common.metrics.dead_lettered(reason);
                    self.given_up.push(dead(record, name, reason, &detail, attempts));
                }
                (None, Given::Forgotten) => {
                    tracing::error!(code = "last_words_given_up", %topology, stage = %name, %reason, detail, "a session that is forgotten failed as often as it may when it was asked what there is left to say");
                }
                (None, _) => {
                    tracing::error!(code = "timer_given_up", %topology, stage = %name, %reason, detail, "a session's timer failed as often as it may; it is tried again later");
                    // The session still counts on being called: without this its timers would be dead.
                    self.table.set_wanted(slot, stage, at.log + common.limits.backoff.max);
                    self.arm(slot);
                }
            }
            // What waits behind goes on at once.
            Duration::ZERO
        } else {
            common.metrics.retried(reason);
            inbox.queue.push_front(Parked { what: given.waiting(stage), at, counted: true });
            inbox.backoff.next_delay()
        };
        self.inbox(slot).waiting = true;
        self.retries.insert((Instant::now() + wait, slot));
    }

    /// The first stage from `from` on whose timer is due.
    fn due(&self, slot: u32, from: usize, log: LogTime) -> Option<usize> {
        (from..self.stages.len()).find(|stage| self.table.wanted(slot, *stage) <= log)
    }

    fn inbox(&mut self, slot: u32) -> &mut Inbox {
        let backoff = self.stages[0].spec.common.limits.backoff;
        self.table.open_inbox(slot, |device| {
            let backoff = Backoff::new(backoff, seed_of(device));
            Inbox { queue: Default::default(), attempts: 0, waiting: false, backoff }
        })
    }

    /// Puts the slot's earliest wake-up into the wheel, unless an earlier one lies there already.
    pub(super) fn arm(&mut self, slot: u32) {
        let earliest = self.table.earliest_wanted(slot);
        let Some(entry) = self.table.get_mut(slot) else { return };
        if earliest < entry.armed {
            entry.armed = earliest;
            self.wheel.insert(earliest, slot);
        }
    }
}
