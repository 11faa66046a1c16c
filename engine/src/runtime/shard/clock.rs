//! A shard's own time, moved by what is in the log (`docs/formats.md`, "Time").

use serde::Deserialize;
use ulid::Ulid;

use crate::clock::{Clock, LogTime, Timestamp};

/// How far a record may stand ahead of the last mark: the distance of two marks.
const MARK_INTERVAL_MS: u64 = 1000;

/// What moves a shard's time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeMode {
    /// The marks of the ingress slots.
    #[default]
    Marks,
    /// The records' own times: the highest seen.
    Records,
    /// The machine's clock.
    Wall,
}

/// The body of a mark.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Mark {
    /// The ingress slot.
    pub slot: u16,
    /// The incarnation of its broker session.
    pub slot_session: Ulid,
    /// From when the session was alive without a break, Unix milliseconds.
    pub since: u64,
    /// Up to when, Unix milliseconds.
    pub time: u64,
}

/// A shard's time.
#[derive(Debug)]
pub(super) struct LogClock {
    mode: TimeMode,
    wall: Clock,
    now: LogTime,
    slots: Vec<SlotTime>,
}

#[derive(Clone, Copy, Debug)]
struct SlotTime {
    slot: u16,
    last_mark: Timestamp,
    alive: LogTime,
}

impl LogClock {
    /// Time as a checkpoint left it. What each slot had is kept apart from the shard's time, which may be ahead of it
    /// by a record: else every restart would add to it, and a replay would not repeat the time line.
    pub(super) fn restored(mode: TimeMode, wall: Clock, now: LogTime, marks: &[(u16, Timestamp, LogTime)]) -> Self {
        let slot = |(slot, last_mark, alive): &_| SlotTime { slot: *slot, last_mark: *last_mark, alive: *alive };
        let slots = marks.iter().map(slot);
        LogClock { mode, wall, now, slots: slots.collect() }
    }

    pub(super) fn now(&self) -> LogTime {
        self.now
    }

    /// Whether it moves when nothing comes.
    pub(super) fn moves_by_itself(&self) -> bool {
        self.mode == TimeMode::Wall
    }

    /// Whether only marks move it.
    pub(super) fn follows_marks(&self) -> bool {
        self.mode == TimeMode::Marks
    }

    /// The last mark of each slot and how long the slot was alive, for the checkpoint.
    pub(super) fn marks(&self) -> Vec<(u16, Timestamp, LogTime)> {
        self.slots.iter().map(|s| (s.slot, s.last_mark, s.alive)).collect()
    }

    /// A mark has been passed.
    pub(super) fn mark(&mut self, mark: &Mark) -> LogTime {
        if self.mode != TimeMode::Marks {
            return self.now;
        }
        let (since, time) = (Timestamp(mark.since), Timestamp(mark.time));
        match self.slots.iter_mut().find(|s| s.slot == mark.slot) {
            Some(slot) => {
                slot.alive = slot.alive + time.since(since.max(slot.last_mark));
                slot.last_mark = slot.last_mark.max(time);
            }
            None => {
                // A slot that was never seen begins where the shard is.
                let alive = self.now + time.since(since);
                self.slots.push(SlotTime { slot: mark.slot, last_mark: time, alive });
            }
        }
        let lowest = self.slots.iter().map(|s| s.alive).min().unwrap_or(self.now);
        self.now = self.now.max(lowest);
        self.now
    }

    /// A record received at `received_at` is next.
    pub(super) fn record(&mut self, received_at: Timestamp) -> LogTime {
        let at = match self.mode {
            TimeMode::Records => LogTime(received_at.0),
            TimeMode::Wall => LogTime(self.wall.now().0),
            TimeMode::Marks => match self.slots.iter().min_by_key(|s| s.alive) {
                Some(slot) => {
                    let ahead = received_at.0.saturating_sub(slot.last_mark.0).min(MARK_INTERVAL_MS);
                    LogTime(slot.alive.0 + ahead)
                }
                None => self.now,
            },
        };
        self.now = self.now.max(at);
        self.now
    }

    /// Nothing has come: time that moves by itself moves.
    pub(super) fn idle(&mut self) -> LogTime {
        if self.mode == TimeMode::Wall {
            self.now = self.now.max(LogTime(self.wall.now().0));
        }
        self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(since: u64, time: u64) -> Mark {
        Mark { slot: 0, slot_session: Ulid::nil(), since, time }
    }

    fn by_marks() -> LogClock {
        LogClock::restored(TimeMode::Marks, Clock::system(), LogTime(0), &[])
    }

    #[test]
    fn an_outage_stops_it() {
        let mut clock = by_marks();
        assert_eq!(clock.mark(&mark(10_000, 11_000)), LogTime(1000));
        assert_eq!(clock.mark(&mark(11_000, 12_000)), LogTime(2000));
        // Three minutes without a session; the first mark after it only vouches for its own second.
        assert_eq!(clock.record(Timestamp(192_500)), LogTime(3000), "a record is at most one interval ahead");
        assert_eq!(clock.mark(&mark(192_000, 193_000)), LogTime(3000));
    }

    #[test]
    fn a_lost_or_repeated_mark_changes_nothing() {
        let mut clock = by_marks();
        clock.mark(&mark(0, 1000));
        assert_eq!(clock.mark(&mark(1000, 4000)), LogTime(4000), "marks lost in between");
        assert_eq!(clock.mark(&mark(3000, 4000)), LogTime(4000), "repeated");
        assert_eq!(clock.mark(&mark(3000, 3500)), LogTime(4000), "an older one");
    }

    #[test]
    fn a_checkpoint_carries_it_on() {
        let mut before = by_marks();
        before.mark(&mark(0, 1000));
        let mut after = LogClock::restored(TimeMode::Marks, Clock::system(), before.now(), &before.marks());
        assert_eq!(after.mark(&mark(1000, 2000)), LogTime(2000));
    }

    #[test]
    fn a_restart_does_not_add_to_it() {
        let of_slot = |slot, since, time| Mark { slot, ..mark(since, time) };
        let mut gone_on = by_marks();
        gone_on.mark(&of_slot(0, 0, 1000));
        gone_on.mark(&of_slot(1, 0, 5000));
        assert_eq!(gone_on.record(Timestamp(1700)), LogTime(1700), "ahead of the last mark");
        let mut restarted = LogClock::restored(TimeMode::Marks, Clock::system(), gone_on.now(), &gone_on.marks());
        for next in [of_slot(0, 1000, 2000), of_slot(1, 5000, 6000), of_slot(0, 2000, 9000)] {
            assert_eq!(restarted.mark(&next), gone_on.mark(&next), "{next:?}");
        }
    }

    #[test]
    fn records_can_be_their_own_clock() {
        let mut clock = LogClock::restored(TimeMode::Records, Clock::system(), LogTime(0), &[]);
        assert_eq!(clock.record(Timestamp(500)), LogTime(500));
        assert_eq!(clock.record(Timestamp(400)), LogTime(500), "never back");
    }
}
