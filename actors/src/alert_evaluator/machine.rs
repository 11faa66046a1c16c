//! The states of an alert, apart from everything that leads to them.
//!
//! ```text
//!             true, no `for`, or silence
//!          ┌────────────────────────────────────┐
//!          │                                    ▼
//!      inactive ──true, with `for`─▶ pending ─`for` has passed─▶ firing
//!          ▲                           │                           │
//!          └──────── false ────────────┴── false, or `clear` ──────┘
//! ```
//!
//! Only time leads from pending to firing and from silence to firing: a record never does, however late the timer is.
//! So for each state it is known whether a record or a timer led there, which a restart has to know.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use telemill_engine::clock::LogTime;

/// Where an alert stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Phase {
    #[default]
    Inactive,
    Pending,
    Firing,
}

/// What a rule looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watch {
    /// A condition that holds for so long; zero: at all.
    Condition { hold: Duration },
    /// That nothing is heard for so long.
    Absence { after: Duration },
}

impl Watch {
    /// Whether it is time, rather than a record, that leads to `phase`.
    pub(super) fn by_timer(self, phase: Phase) -> bool {
        phase == Phase::Firing
            && match self {
                Watch::Condition { hold } => !hold.is_zero(),
                Watch::Absence { .. } => true,
            }
    }

    /// The state after a record. `active` says whether the alert is to be active: for a condition, what it gave (none:
    /// no data, which changes nothing). A record ends an absence whatever is in it.
    pub(super) fn after_record(self, phase: Phase, active: Option<bool>) -> Phase {
        match (self, phase, active) {
            (Watch::Absence { .. }, _, _) => Phase::Inactive,
            (Watch::Condition { .. }, _, None) => phase,
            (Watch::Condition { .. }, _, Some(false)) => Phase::Inactive,
            (Watch::Condition { hold }, Phase::Inactive, Some(true)) if hold.is_zero() => Phase::Firing,
            (Watch::Condition { .. }, Phase::Inactive, Some(true)) => Phase::Pending,
            (Watch::Condition { .. }, _, Some(true)) => phase,
        }
    }

    /// The state once it is `now`.
    pub(super) fn after_time(self, phase: Phase, clocks: Clocks, now: LogTime) -> Phase {
        match self.due(phase, clocks) {
            Some(due) if due <= now => Phase::Firing,
            _ => phase,
        }
    }

    /// When time alone leads out of `phase`.
    pub(super) fn due(self, phase: Phase, clocks: Clocks) -> Option<LogTime> {
        match (self, phase) {
            (_, Phase::Firing) | (Watch::Condition { .. }, Phase::Inactive) => None,
            (Watch::Condition { hold }, Phase::Pending) => Some(clocks.since + hold),
            (Watch::Absence { after }, _) => Some(clocks.last_record? + after),
        }
    }
}

/// The instants from which a rule counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks {
    /// When the alert came to its state.
    pub(super) since: LogTime,
    /// When the device was last heard of; kept only where a rule asks for it.
    pub(super) last_record: Option<LogTime>,
}

#[cfg(test)]
mod tests {
    use super::Phase::{Firing, Inactive, Pending};
    use super::*;

    const AT_ONCE: Watch = Watch::Condition { hold: Duration::ZERO };
    const HELD: Watch = Watch::Condition { hold: Duration::from_millis(30) };
    const ABSENT: Watch = Watch::Absence { after: Duration::from_millis(30) };

    #[test]
    fn what_a_record_does() {
        // (rule, state, after true, after false, after no data)
        let table = [
            (AT_ONCE, Inactive, Firing, Inactive, Inactive),
            (AT_ONCE, Pending, Pending, Inactive, Pending),
            (AT_ONCE, Firing, Firing, Inactive, Firing),
            (HELD, Inactive, Pending, Inactive, Inactive),
            (HELD, Pending, Pending, Inactive, Pending),
            (HELD, Firing, Firing, Inactive, Firing),
            (ABSENT, Inactive, Inactive, Inactive, Inactive),
            (ABSENT, Pending, Inactive, Inactive, Inactive),
            (ABSENT, Firing, Inactive, Inactive, Inactive),
        ];
        for (watch, phase, on_true, on_false, on_none) in table {
            let after = [Some(true), Some(false), None].map(|active| watch.after_record(phase, active));
            assert_eq!(after, [on_true, on_false, on_none], "{watch:?} {phase:?}");
        }
    }

    #[test]
    fn what_time_does() {
        let clocks = |since, heard: Option<u64>| Clocks { since: LogTime(since), last_record: heard.map(LogTime) };
        // (rule, state, since, last record, due, state at 129, state at 130)
        let table = [
            (AT_ONCE, Inactive, 100, Some(100), None, Inactive, Inactive),
            // The rule had a `for` when the alert became pending, and has none now.
            (AT_ONCE, Pending, 100, None, Some(100), Firing, Firing),
            (AT_ONCE, Firing, 0, Some(0), None, Firing, Firing),
            (HELD, Inactive, 0, Some(0), None, Inactive, Inactive),
            (HELD, Pending, 100, Some(0), Some(130), Pending, Firing),
            (HELD, Firing, 0, Some(0), None, Firing, Firing),
            (ABSENT, Inactive, 0, Some(100), Some(130), Inactive, Firing),
            (ABSENT, Inactive, 0, None, None, Inactive, Inactive),
            // The rule was a condition when the alert became pending, and is an absence now.
            (ABSENT, Pending, 0, Some(100), Some(130), Pending, Firing),
            (ABSENT, Firing, 0, Some(0), None, Firing, Firing),
        ];
        for (watch, phase, since, heard, due, before, at) in table {
            let clocks = clocks(since, heard);
            assert_eq!(watch.due(phase, clocks), due.map(LogTime), "{watch:?} {phase:?}");
            let after = [129, 130].map(|now| watch.after_time(phase, clocks, LogTime(now)));
            assert_eq!(after, [before, at], "{watch:?} {phase:?}");
        }
    }

    #[test]
    fn only_firing_can_come_of_time() {
        for (watch, expect) in [(AT_ONCE, false), (HELD, true), (ABSENT, true)] {
            assert_eq!(watch.by_timer(Firing), expect);
            assert!(!watch.by_timer(Pending) && !watch.by_timer(Inactive));
            for phase in [Inactive, Pending] {
                let fires = watch.after_record(phase, Some(true)) == Firing;
                assert!(!(fires && watch.by_timer(Firing)), "{watch:?} {phase:?}");
            }
        }
    }
}
