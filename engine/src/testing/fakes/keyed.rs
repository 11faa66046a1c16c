//! A keyed stage with a counter, a presence timer, and transitions that it journals.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use ulid::Ulid;
use uuid::Uuid;

use crate::clock::LogTime;
use crate::device_id::DeviceId;
use crate::keyed::{Effects, Input, Keyed, Now, Presence};
use crate::position::{Position, TopicId};
use crate::record::{EventId, Kind, Record};
use crate::stage::{Outlet, StageError};
use crate::testing::number_of;
use crate::testing::world::{Poison, World};

/// How long a device may be silent before it is called offline.
pub const OFFLINE_AFTER: Duration = Duration::from_secs(4);

/// The outlet of the transitions.
const ALERTS: Outlet = Outlet(1);

/// What happened to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TransitionKind {
    /// It was heard of, for the first time or after it was offline.
    Online,
    /// It was silent for [`OFFLINE_AFTER`].
    Offline,
    /// Another three records have come.
    Third,
    /// It was forgotten while it was online.
    Forgotten,
}

/// A transition of a device, as it stands in the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// The number of the record that opened the device's session.
    pub incarnation: u64,
    /// Its running number within the session.
    pub sequence: u64,
    /// What happened.
    pub kind: TransitionKind,
    /// When, in the shard's time.
    pub log_time: LogTime,
    /// Topic and offset of what it is put down to.
    pub cause: Option<(u128, i64)>,
}

/// One device's state.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Session {
    incarnation: u64,
    sequence: u64,
    journalled: u64,
    count: u64,
    last: LogTime,
    online: bool,
}

/// Counts, with the world's troubles.
///
/// A replay derives the same transitions with the same sequence; those that the journal has are not emitted again.
pub struct SimKeyed {
    /// The world whose troubles it has.
    pub world: Arc<World>,
}

impl SimKeyed {
    fn transition(device: &DeviceId, s: &mut Session, kind: TransitionKind, now: Now<'_>, out: &mut Effects) {
        s.sequence += 1;
        if s.sequence <= s.journalled {
            return;
        }
        let cause = Some((now.cause.topic.0.as_u128(), now.cause.offset));
        let transition =
            Transition { incarnation: s.incarnation, sequence: s.sequence, kind, log_time: now.log, cause };
        let body = serde_json::to_vec(&transition).expect("plain data");
        let id = EventId(Ulid::from_parts(s.sequence, u128::from(device.hash64())));
        out.emit(ALERTS, Record::new(id, device.clone(), Kind::Alert, body.into(), now.wall));
    }
}

fn read(journalled: &Record) -> Transition {
    serde_json::from_slice(&journalled.payload).expect("it was written here")
}

/// A short name for the session that a record opens.
pub(crate) fn incarnation(first: EventId) -> u64 {
    first.0.random() as u64
}

impl Keyed for SimKeyed {
    type Session = Session;
    const STATE_VERSION: u8 = 1;

    fn open(&self, _: &DeviceId, first: Option<EventId>, _: Now<'_>) -> Session {
        Session { incarnation: first.map_or(0, incarnation), ..Session::default() }
    }

    fn step(
        &self,
        device: &DeviceId,
        s: &mut Session,
        input: Input<'_>,
        now: Now<'_>,
        out: &mut Effects,
    ) -> Result<(), StageError> {
        self.world.trouble.note(|| {
            let what = match input {
                Input::Record(record) => format!("record {}", number_of(record)),
                Input::Timer => "timer".to_owned(),
                Input::Forgotten => "forgotten".to_owned(),
                Input::Journal(_) => "journal".to_owned(),
            };
            format!("{device}: {what} at {} on {s:?}", now.log.0)
        });
        match input {
            Input::Record(record) => {
                if !s.online {
                    s.online = true;
                    out.presence(Presence { online: true, since: now.wall });
                    Self::transition(device, s, TransitionKind::Online, now, out);
                }
                s.count += 1;
                s.last = now.log;
                if s.count.is_multiple_of(3) {
                    Self::transition(device, s, TransitionKind::Third, now, out);
                }
                out.wake_at(now.log + OFFLINE_AFTER);
                out.forward();
                // Only now, so that a step that is undone has done something.
                assert!(Poison::of(&record.payload) != Poison::Keyed, "injected: poison");
                self.world.trouble.maybe_panic_on("keyed", number_of(record));
            }
            Input::Timer if s.online && now.log >= s.last + OFFLINE_AFTER => {
                s.online = false;
                out.presence(Presence { online: false, since: now.wall });
                Self::transition(device, s, TransitionKind::Offline, now, out);
                self.world.trouble.maybe_panic_on("timer", device.hash64());
            }
            Input::Timer if s.online => out.wake_at(s.last + OFFLINE_AFTER),
            Input::Timer => {}
            Input::Forgotten => {
                if s.online {
                    Self::transition(device, s, TransitionKind::Forgotten, now, out);
                }
                self.world.trouble.maybe_panic_on("forgotten", device.hash64());
            }
            Input::Journal(record) => {
                let transition = read(record);
                if s.incarnation == 0 {
                    s.incarnation = transition.incarnation;
                }
                if s.incarnation == transition.incarnation {
                    s.journalled = s.journalled.max(transition.sequence);
                }
            }
        }
        Ok(())
    }

    fn restored(&self, s: &Session, out: &mut Effects) {
        if s.online {
            out.wake_at(s.last + OFFLINE_AFTER);
        }
    }

    fn cause_of(&self, journalled: &Record) -> Option<Position> {
        let (topic, offset) = read(journalled).cause?;
        Some(Position { topic: TopicId(Uuid::from_u128(topic)), offset, ..Position::default() })
    }

    fn may_passivate(&self, s: &Session, _: Now<'_>) -> bool {
        !s.online && s.journalled <= s.sequence
    }
}
