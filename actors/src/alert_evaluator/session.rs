//! What the rules remember of one device.
//!
//! A rule that never led to anything for a device costs nothing there. What did is kept by the alert's name, so that a
//! session outlives changes of the rules: what a rule of another name kept is dropped with the next step. A session is
//! cloned before each step, so what it keeps is shared until it changes.

use std::num::NonZeroU64;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use telemill_engine::clock::{LogTime, Timestamp};
use telemill_engine::position::Position;
use telemill_engine::record::EventId;
use ulid::Ulid;

use super::evidence::Evidence;
use super::machine::{Clocks, Phase};

/// One device's alerts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// The event id of the record that opened the session; zero before there was one.
    incarnation: [u8; 16],
    /// When the device was last heard of; kept only where a rule asks for it.
    pub(super) last_record: Moment,
    /// The wake-up that was asked for and has not come.
    pub(super) wake: Moment,
    pub(super) alerts: Alerts,
}

/// As in `device_session`: an idle device may take 256 bytes in all.
const _: () = assert!(std::mem::size_of::<Option<Session>>() <= 40);

impl Session {
    /// Takes an identity as the session's, unless it has one; whether it is the session's now.
    pub(super) fn opened_by(&mut self, id: EventId) -> bool {
        if self.incarnation == [0; 16] {
            self.incarnation = id.0.to_bytes();
        }
        self.incarnation == id.0.to_bytes()
    }

    pub(super) fn incarnation(&self) -> Ulid {
        Ulid::from_bytes(self.incarnation)
    }
}

/// An instant or none, in eight bytes of which a session that is not there needs no ninth. Written as a number: 0 for
/// none, else the instant and one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment(NonZeroU64);

/// None; an instant that late does not come.
const NONE: Moment = Moment(NonZeroU64::MAX);

impl Default for Moment {
    fn default() -> Self {
        NONE
    }
}

impl From<Option<LogTime>> for Moment {
    fn from(at: Option<LogTime>) -> Self {
        at.and_then(|at| NonZeroU64::new(at.0.saturating_add(1))).map_or(NONE, Moment)
    }
}

impl From<Moment> for Option<LogTime> {
    fn from(moment: Moment) -> Self {
        (moment != NONE).then(|| LogTime(moment.0.get() - 1))
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(if *self == NONE { 0 } else { self.0.get() })
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(NonZeroU64::new(u64::deserialize(deserializer)?).map_or(NONE, Moment))
    }
}

/// What is kept of the rules that led to something, in the order in which they first did.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Alerts(Option<Arc<Vec<Alert>>>);

/// What is kept of one rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Alert {
    /// The rule, by the hash of its name.
    pub(super) rule: u64,
    /// When it came to its phase.
    pub(super) since: LogTime,
    /// When it last became active.
    pub(super) active_at: Timestamp,
    /// The number of its last transition.
    pub(super) sequence: u32,
    pub(super) phase: Phase,
    /// What the message said when the condition last held, while it is pending.
    pub(super) evidence: Option<Box<Evidence>>,
    /// Up to where the journal has told already what became of it.
    pub(super) told: Option<Box<Told>>,
}

/// The last transition that was applied rather than derived.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Told {
    pub(super) cause: Position,
    pub(super) log: LogTime,
    pub(super) at: Timestamp,
    /// Whether a timer made it: then it happened somewhere between its cause and what follows that in its topic.
    pub(super) by_timer: bool,
}

impl Alert {
    pub(super) fn clocks(&self, last_record: Option<LogTime>) -> Clocks {
        Clocks { since: self.since, last_record }
    }
}

impl Alerts {
    pub(super) fn as_slice(&self) -> &[Alert] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn get(&self, rule: u64) -> Option<&Alert> {
        self.as_slice().iter().find(|alert| alert.rule == rule)
    }

    /// What is kept of a rule, made if nothing is.
    pub(super) fn entry(&mut self, rule: u64) -> &mut Alert {
        let alerts = Arc::make_mut(self.0.get_or_insert_default());
        let index = alerts.iter().position(|alert| alert.rule == rule).unwrap_or_else(|| {
            alerts.push(Alert { rule, ..Alert::default() });
            alerts.len() - 1
        });
        &mut alerts[index]
    }

    /// Drops what is kept of rules that are no more.
    pub(super) fn retain(&mut self, known: impl Fn(u64) -> bool) {
        if self.as_slice().iter().all(|alert| known(alert.rule)) {
            return;
        }
        let kept: Vec<Alert> = self.as_slice().iter().filter(|alert| known(alert.rule)).cloned().collect();
        self.0 = (!kept.is_empty()).then(|| Arc::new(kept));
    }
}

impl Serialize for Alerts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.as_slice().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Alerts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let alerts = Vec::<Alert>::deserialize(deserializer)?;
        Ok(Alerts((!alerts.is_empty()).then(|| Arc::new(alerts))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_small() {
        assert_eq!(size_of::<Session>(), 40);
        assert_eq!(size_of::<Alert>(), 48);
        let mut session = Session::default();
        assert!(session.opened_by(EventId(Ulid::from_parts(1 << 40, 1))));
        assert_eq!(postcard::to_stdvec(&session).unwrap().len(), 19, "without a rule that ever led to anything");
    }

    #[test]
    fn an_identity_is_taken_once() {
        let [one, two] = [1, 2].map(|n| EventId(Ulid::from_parts(1, n)));
        let mut session = Session::default();
        assert!(session.opened_by(one));
        assert!(!session.opened_by(two));
        assert_eq!(session.incarnation(), one.0);
    }

    #[test]
    fn an_instant_is_written_as_a_number_and_none_as_0() {
        for (at, written) in [(None, 0u64), (Some(LogTime(0)), 1), (Some(LogTime(41)), 42)] {
            let bytes = postcard::to_stdvec(&Moment::from(at)).unwrap();
            assert_eq!(bytes, postcard::to_stdvec(&written).unwrap());
            let read: Moment = postcard::from_bytes(&bytes).unwrap();
            assert_eq!(Option::<LogTime>::from(read), at);
        }
    }

    #[test]
    fn alerts_are_shared_until_they_change() {
        let mut alerts = Alerts::default();
        alerts.entry(1).sequence = 5;
        alerts.entry(2).sequence = 6;
        let mut savepoint = alerts.clone();
        alerts.retain(|_| true);
        assert!(std::ptr::eq(alerts.as_slice(), savepoint.as_slice()));
        alerts.entry(1).sequence = 7;
        assert_eq!((alerts.get(1).unwrap().sequence, savepoint.get(1).unwrap().sequence), (7, 5));
        savepoint.retain(|rule| rule == 2);
        assert_eq!((savepoint.as_slice().len(), savepoint.get(1)), (1, None));
        savepoint.retain(|_| false);
        assert!(savepoint.is_empty());
    }
}
