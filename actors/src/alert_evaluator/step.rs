//! What the rules do with a record, with the passing of time, and with what the journal tells.

use std::cmp::Ordering;
use std::time::Duration;

use telemill_engine::clock::LogTime;
use telemill_engine::device_id::DeviceId;
use telemill_engine::faults;
use telemill_engine::keyed::{Effects, Input, Keyed, Now};
use telemill_engine::position::Position;
use telemill_engine::record::{EventId, Record};
use telemill_engine::stage::{Outlet, StageError};
use telemill_engine::topology::expr::{Inputs, Slot};

use super::AlertEvaluator;
use super::machine::Phase;
use super::rules::{Rule, key_of};
use super::session::{Alert, Session, Told};
use super::transition::{Entry, Transition};

/// What `{{ kind }}` prints where there is no record.
const TIMER: &str = "timer";
/// What it prints when an alert is resolved because its device is forgotten.
const FORGOTTEN: &str = "forgotten";

impl Keyed for AlertEvaluator {
    type Session = Session;
    const STATE_VERSION: u8 = 1;

    fn open(&self, _: &DeviceId, first: Option<EventId>, _: Now<'_>) -> Session {
        let mut session = Session::default();
        if let Some(first) = first {
            session.opened_by(first);
        }
        session
    }

    fn step(
        &self,
        device: &DeviceId,
        session: &mut Session,
        input: Input<'_>,
        now: Now<'_>,
        out: &mut Effects,
    ) -> Result<(), StageError> {
        faults::point("alert_evaluator.step");
        session.alerts.retain(|rule| self.rules.by_key(rule).is_some());
        let (now, on_record) = match input {
            // A record that had to wait its turn still happened when it was received.
            Input::Record(record) => (Now { wall: record.received_at, ..now }, true),
            Input::Timer | Input::Forgotten | Input::Journal(_) => (now, false),
        };
        let step = Step { stage: self, device, now, on_record };
        match input {
            Input::Record(record) => step.record(session, record, out),
            Input::Timer => {
                session.wake = None.into();
                step.timer(session, out);
            }
            Input::Forgotten => {
                step.forgotten(session, out);
                return Ok(());
            }
            Input::Journal(record) => step.journal(session, record)?,
        }
        step.schedule(session, out);
        Ok(())
    }

    fn restored(&self, session: &Session, out: &mut Effects) {
        let earliest = [session.wake.into(), self.due(session)].into_iter().flatten().min();
        if let Some(at) = earliest {
            out.wake_at(at);
        }
    }

    fn cause_of(&self, journalled: &Record) -> Option<Position> {
        Entry::read(journalled).ok().map(|entry| entry.cause())
    }

    fn may_passivate(&self, session: &Session, _: Now<'_>) -> bool {
        let rests = |alert: &Alert| alert.phase == Phase::Inactive && alert.told.is_none();
        let mut alerts = session.alerts.as_slice().iter();
        self.due(session).is_none() && alerts.all(|alert| rests(alert) || self.rules.by_key(alert.rule).is_none())
    }
}

impl AlertEvaluator {
    /// When time alone changes something next.
    fn due(&self, session: &Session) -> Option<LogTime> {
        let last_record = session.last_record.into();
        if session.alerts.is_empty() {
            return Some(Option::<LogTime>::from(session.last_record)? + self.rules.shortest_absence?);
        }
        let due = |rule: &Rule| {
            let untouched = Alert::default();
            let alert = session.alerts.get(rule.key).unwrap_or(&untouched);
            let due = rule.watch.due(alert.phase, alert.clocks(last_record))?;
            Some(alert.told.as_deref().map_or(due, |told| due.max(told.log)))
        };
        self.rules.list.iter().filter_map(due).min()
    }
}

/// One call of the stage.
struct Step<'a> {
    stage: &'a AlertEvaluator,
    device: &'a DeviceId,
    now: Now<'a>,
    /// Whether it is a record's, rather than a timer's or the journal's.
    on_record: bool,
}

impl Step<'_> {
    fn record(&self, session: &mut Session, record: &Record, out: &mut Effects) {
        session.opened_by(record.id);
        let rules = &self.stage.rules;
        session.last_record = rules.shortest_absence.map(|_| self.now.log).into();
        let mut slots = rules.plan.slots();
        // A payload that is no JSON says nothing, and leaves all slots empty.
        let _ = rules.plan.extract(&record.payload, &mut slots);
        let inputs = Inputs {
            device_id: self.device.as_str(),
            kind: record.kind.as_str(),
            timestamp: seconds(record.received_at.as_secs()),
            slots: slots.as_slice(),
        };
        for rule in &rules.list {
            let alert = session.alerts.get(rule.key);
            let phase = alert.map_or(Phase::Inactive, |alert| alert.phase);
            if let Some(told) = alert.and_then(|alert| alert.told.as_deref())
                && self.is_told(told)
            {
                // The record that made it pending is also what it would say if it fired next.
                if phase == Phase::Pending && self.is_cause(told) {
                    session.alerts.entry(rule.key).evidence = rule.wanted.keep(inputs.slots);
                }
                continue;
            }
            let active = rule.is_active(phase, &inputs);
            let after = rule.watch.after_record(phase, active);
            if after != phase {
                self.change(session, rule, after, &inputs, out);
            }
            if after == Phase::Pending && active == Some(true) && !rule.wanted.slots.is_empty() {
                session.alerts.entry(rule.key).evidence = rule.wanted.keep(inputs.slots);
            }
        }
        self.forget_told(session);
    }

    fn timer(&self, session: &mut Session, out: &mut Effects) {
        let rules = &self.stage.rules;
        for rule in &rules.list {
            let untouched = Alert::default();
            let alert = session.alerts.get(rule.key).unwrap_or(&untouched);
            let after = rule.watch.after_time(alert.phase, alert.clocks(session.last_record.into()), self.now.log);
            if after == alert.phase || alert.told.as_deref().is_some_and(|told| self.is_told(told)) {
                continue;
            }
            let evidence = alert.evidence.clone();
            let mut slots: Vec<Slot<'_>> = vec![None; rules.plan.len()];
            rule.wanted.recall(evidence.as_deref(), &mut slots);
            let timestamp = seconds(self.now.wall.as_secs());
            let inputs = Inputs { device_id: self.device.as_str(), kind: TIMER, timestamp, slots: &slots };
            self.change(session, rule, after, &inputs, out);
        }
        self.forget_told(session);
    }

    /// Resolves what is pending or firing: nobody will ever look at this device's alerts again.
    fn forgotten(&self, session: &mut Session, out: &mut Effects) {
        let slots: Vec<Slot<'_>> = vec![None; self.stage.rules.plan.len()];
        let timestamp = seconds(self.now.wall.as_secs());
        let inputs = Inputs { device_id: self.device.as_str(), kind: FORGOTTEN, timestamp, slots: &slots };
        for rule in &self.stage.rules.list {
            let Some(alert) = session.alerts.get(rule.key) else { continue };
            let is_told = alert.told.as_deref().is_some_and(|told| self.is_told(told));
            if alert.phase != Phase::Inactive && !is_told {
                self.change(session, rule, Phase::Inactive, &inputs, out);
            }
        }
    }

    /// Applies a transition that was made before the restart.
    fn journal(&self, session: &mut Session, record: &Record) -> Result<(), StageError> {
        let entry = Entry::read(record)?;
        let Some(rule) = self.stage.rules.by_key(key_of(&entry.alertname)) else { return Ok(()) };
        let known = session.alerts.get(rule.key).map_or(0, |alert| alert.sequence);
        // Another incarnation's: the device was forgotten, or is about to be. What the checkpoint knows it knows better.
        if !session.opened_by(EventId(entry.incarnation)) || entry.sequence <= known {
            return Ok(());
        }
        let phase = entry.phase();
        let told =
            Told { cause: entry.cause(), log: entry.log_time, at: entry.at, by_timer: rule.watch.by_timer(phase) };
        let alert = session.alerts.entry(rule.key);
        alert.sequence = entry.sequence;
        alert.phase = phase;
        alert.since = entry.log_time;
        alert.active_at = entry.active_at;
        alert.evidence = None;
        alert.told = Some(Box::new(told));
        Ok(())
    }

    /// Whether the journal has told already what comes of this step: it is before the last transition that was applied,
    /// or it is that transition.
    fn is_told(&self, told: &Told) -> bool {
        let Now { log, wall, cursor, cause } = self.now;
        // A record goes by its own place: where it had to wait its turn, the cursor is past it.
        let own = (self.on_record && cause.topic == told.cause.topic).then_some(cause.offset);
        let Some(done) = own.or_else(|| cursor.get(told.cause.topic)) else {
            // Nothing of that topic has come yet, or it is gone for good, and then wall time has to tell.
            return if told.by_timer { wall < told.at } else { wall <= told.at };
        };
        match done.cmp(&told.cause.offset) {
            Ordering::Less => true,
            Ordering::Greater => false,
            // Between its cause, the last mark, and the next one.
            Ordering::Equal if told.by_timer => log < told.log,
            // With its record this session lets go of it. So that is yet to come, or was lost on the way here.
            Ordering::Equal => !self.on_record || own.is_some(),
        }
    }

    fn is_cause(&self, told: &Told) -> bool {
        (self.now.cause.topic, self.now.cause.offset) == (told.cause.topic, told.cause.offset)
    }

    /// Lets go of what the journal told, once this step is past it.
    fn forget_told(&self, session: &mut Session) {
        for index in 0..session.alerts.as_slice().len() {
            let alert = &session.alerts.as_slice()[index];
            let Some(told) = alert.told.as_deref() else { continue };
            let was_its_record = self.on_record && !told.by_timer && self.is_cause(told);
            if was_its_record || !self.is_told(told) {
                let rule = alert.rule;
                let alert = session.alerts.entry(rule);
                alert.told = None;
                // The shard's time begins anew where its checkpoints were lost: nothing can have begun later than now.
                alert.since = alert.since.min(self.now.log);
            }
        }
    }

    fn change(&self, session: &mut Session, rule: &Rule, phase: Phase, inputs: &Inputs<'_>, out: &mut Effects) {
        let incarnation = session.incarnation();
        let alert = session.alerts.entry(rule.key);
        if alert.phase == Phase::Inactive {
            alert.active_at = self.now.wall;
        }
        alert.phase = phase;
        alert.since = self.now.log;
        alert.sequence += 1;
        alert.evidence = None;
        alert.told = None;
        let value = rule.value_slot().and_then(|slot| inputs.slots.get(slot.index())?.as_ref());
        let transition = Transition {
            alertname: &rule.name,
            device: self.device,
            incarnation,
            phase,
            sequence: alert.sequence,
            labels: rule.labels.iter().map(|(name, text)| (name.as_str(), text.render(inputs))).collect(),
            annotations: rule.annotations.iter().map(|(name, text)| (name.as_str(), text.render(inputs))).collect(),
            value,
            active_at: alert.active_at,
            at: self.now.wall,
            log_time: self.now.log,
            cause: self.now.cause,
            is_forgotten: inputs.kind == FORGOTTEN,
        };
        out.emit(Outlet::MAIN, transition.into_record());
    }

    /// Asks for the next wake-up, unless one that comes before it was asked for: then that one asks again.
    fn schedule(&self, session: &mut Session, out: &mut Effects) {
        let asked: Option<LogTime> = session.wake.into();
        // What is due and did not happen is what the journal tells of; it is not to be asked about again at once.
        let due = self.stage.due(session).map(|due| due.max(self.now.log + Duration::from_millis(1)));
        match due {
            Some(due) if asked.is_none_or(|asked| due < asked) => {
                session.wake = Some(due).into();
                out.wake_at(due);
            }
            None if asked.is_some() => {
                session.wake = None.into();
                out.no_wake();
            }
            _ => {}
        }
    }
}

fn seconds(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}
