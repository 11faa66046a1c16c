//! Whether the group's member waits, before it joins, for an answer that will not come.
//!
//! To join, the client library needs the metadata of its topic, and asks for it once. Where that request ends with its
//! connection, as it does when the library gives up a bootstrap connection for one to the broker by its id, nothing asks
//! again before the next periodic refresh, which is five minutes away; meanwhile the coordinator is there, the brokers
//! answer everything else, and the member belongs to no group. A new client asks afresh. Pure: no clock, no I/O.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::statistics::ConsumerGroup;

/// How often the member says how it stands with its group.
pub(super) const SAID_EVERY: Duration = Duration::from_secs(5);
/// How long it may wait for the metadata while it has its coordinator. The answer takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Since when the member has been heard to wait.
#[derive(Debug, Default)]
pub(super) struct Joining(Mutex<Option<Instant>>);

impl Joining {
    /// Hears how the member stands with its group; whether it has waited for too long.
    pub(super) fn is_stuck(&self, group: &ConsumerGroup, now: Instant) -> bool {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if group.state != "up" || group.join_state != "wait-metadata" {
            *since = None;
            return false;
        }
        now.duration_since(*since.get_or_insert(now)) >= PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(state: &str, join_state: &str) -> ConsumerGroup {
        ConsumerGroup { state: state.to_owned(), join_state: join_state.to_owned(), ..ConsumerGroup::default() }
    }

    #[test]
    fn who_waits_for_metadata_with_its_coordinator_there_is_stuck_after_a_while() {
        let (joining, start) = (Joining::default(), Instant::now());
        let waits = standing("up", "wait-metadata");
        assert!(!joining.is_stuck(&waits, start));
        assert!(!joining.is_stuck(&waits, start + PATIENCE / 2));
        assert!(joining.is_stuck(&waits, start + PATIENCE));
    }

    #[test]
    fn the_wait_begins_anew_when_it_was_interrupted_or_the_coordinator_away() {
        let waits = standing("up", "wait-metadata");
        for other in [standing("up", "steady"), standing("query-coord", "wait-metadata")] {
            let (joining, start) = (Joining::default(), Instant::now());
            assert!(!joining.is_stuck(&waits, start));
            assert!(!joining.is_stuck(&other, start + PATIENCE));
            assert!(!joining.is_stuck(&waits, start + PATIENCE * 2), "{other:?}");
        }
    }
}
