//! When a failed actor may start again: OTP's restart intensity, as a pure state machine.
//!
//! At most `max_restarts` restarts `within` a sliding period; one more and the failure is escalated. Between restarts
//! there is exponential back-off, which starts over once a whole period has passed without a failure.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::retry::{Backoff, BackoffPolicy};

/// How a topology restarts its stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartPolicy {
    /// The restarts that are allowed in the period.
    pub max_restarts: u32,
    /// The period.
    pub within: Duration,
    /// The wait before each.
    pub backoff: BackoffPolicy,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        RestartPolicy { max_restarts: 5, within: Duration::from_secs(60), backoff: BackoffPolicy::default() }
    }
}

/// What to do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Start again after this long.
    RestartAfter(Duration),
    /// The limit is reached: the failure goes up.
    Escalate,
}

/// The restarts of one child.
#[derive(Debug)]
pub struct RestartTracker {
    policy: RestartPolicy,
    recent: VecDeque<Instant>,
    backoff: Backoff,
}

impl RestartTracker {
    /// No restarts yet.
    pub fn new(policy: RestartPolicy, seed: u64) -> Self {
        RestartTracker { policy, recent: VecDeque::new(), backoff: Backoff::new(policy.backoff, seed) }
    }

    /// The child has failed at `now`.
    pub fn failed(&mut self, now: Instant) -> Decision {
        while self.recent.front().is_some_and(|at| now.duration_since(*at) >= self.policy.within) {
            self.recent.pop_front();
        }
        if self.recent.is_empty() {
            self.backoff.reset();
        }
        if self.recent.len() as u32 >= self.policy.max_restarts {
            return Decision::Escalate;
        }
        self.recent.push_back(now);
        Decision::RestartAfter(self.backoff.next_delay())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Failures at these seconds; `r` restart, `E` escalate.
    fn check(max_restarts: u32, within: u64, failures: &[u64], expect: &str) {
        let policy =
            RestartPolicy { max_restarts, within: Duration::from_secs(within), backoff: BackoffPolicy::default() };
        let mut tracker = RestartTracker::new(policy, 1);
        let start = Instant::now();
        let decide = |at: &u64| match tracker.failed(start + Duration::from_secs(*at)) {
            Decision::RestartAfter(_) => 'r',
            Decision::Escalate => 'E',
        };
        assert_eq!(failures.iter().map(decide).collect::<String>(), expect, "{failures:?}");
    }

    #[test]
    fn the_limit_counts_failures_within_the_period() {
        check(2, 60, &[0, 1, 2], "rrE");
        check(2, 60, &[0, 30, 60, 90, 120], "rrrrr");
        check(2, 60, &[0, 30, 59], "rrE");
        check(0, 60, &[0], "E");
        check(1, 10, &[0, 10, 20, 29], "rrrE");
    }

    #[test]
    fn back_off_grows_within_the_period_and_starts_over_after_it() {
        let policy = RestartPolicy { max_restarts: 10, ..RestartPolicy::default() };
        let mut tracker = RestartTracker::new(policy, 3);
        let start = Instant::now();
        let mut wait_at = |seconds| match tracker.failed(start + Duration::from_secs(seconds)) {
            Decision::RestartAfter(wait) => wait,
            Decision::Escalate => panic!("limit not reached"),
        };
        let (first, _, third) = (wait_at(0), wait_at(1), wait_at(2));
        assert!(third >= policy.backoff.base(3) / 2 && first <= policy.backoff.base(1));
        assert!(wait_at(200) <= policy.backoff.base(1));
    }
}
