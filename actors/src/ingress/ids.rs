//! The ids of what arrives: they rise in the order of arrival, and stay near the time by the clock.

use std::time::{Duration, SystemTime};

use telemill_engine::clock::Timestamp;
use telemill_engine::record::EventId;

/// How far, in milliseconds, the clock may be set back while ids go on from those before. Histories are ordered by the
/// second, and by the id within it; ids that went on from an hour ahead would, in the next life of the process, be followed
/// by lower ones of the same second.
const TOLERATED_SET_BACK: u64 = 1_000;

/// Gives out ids that rise in the order in which they are asked for, within a millisecond, too. Where the clock was set
/// back by more than a second they begin anew at its time, as the records' times do.
#[derive(Default)]
pub(crate) struct Ids {
    ids: ulid::Generator,
    /// The time of the last one, in milliseconds.
    last: u64,
}

impl Ids {
    /// The id of what arrives at `now`.
    pub(crate) fn next(&mut self, now: Timestamp) -> EventId {
        if now.0.saturating_add(TOLERATED_SET_BACK) < self.last {
            self.ids = ulid::Generator::new();
        }
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(now.0);
        let id = self.ids.generate_from_datetime(time);
        let id = id.unwrap_or_else(|overflow| overflow.commit_overflow_increment());
        self.last = id.timestamp_ms();
        EventId(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(times: &[u64]) -> Vec<EventId> {
        let mut ids = Ids::default();
        times.iter().map(|ms| ids.next(Timestamp(*ms))).collect()
    }

    #[test]
    fn ids_rise_also_when_the_clock_goes_back_a_little() {
        let ids = given(&[5_007, 5_007, 5_007, 4_500, 5_008]);
        assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    }

    #[test]
    fn ids_follow_a_clock_that_was_set_back() {
        let hour = 3_600_000;
        let times_of = |times: &[u64]| given(times).iter().map(|id| id.0.timestamp_ms()).collect::<Vec<_>>();
        assert_eq!(times_of(&[hour + 5_000, 5_000, 5_000, 5_001]), [hour + 5_000, 5_000, 5_000, 5_001]);
        let ids = given(&[hour + 5_000, 5_000, 5_000, 5_001]);
        assert!(ids[1..].is_sorted_by(|a, b| a < b), "{ids:?}");
        assert_eq!(times_of(&[5_000, 4_000]), [5_000, 5_000]);
        assert_eq!(times_of(&[5_000, 3_999]), [5_000, 3_999]);
    }
}
