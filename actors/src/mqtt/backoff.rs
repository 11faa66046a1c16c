//! How long to wait before the next attempt to connect.
//!
//! Exponential, with jitter, so that many clients of one broker do not come back in one moment. A connection that did
//! not last counts as a failed attempt: a broker that accepts and drops, or another client with the same id, is not
//! asked ten times a second.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);
/// A connection that has lasted this long was a success.
const LASTING: Duration = Duration::from_secs(5);

/// The state of the attempts so far.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// A connection ended (or was never made, `lasted` zero): how long to wait. `random` is any number.
    pub fn after(&mut self, lasted: Duration, random: u64) -> Duration {
        if lasted >= LASTING {
            self.failures = 0;
        }
        let longest = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let half = longest / 2;
        half + Duration::from_millis(random % (half.as_millis() as u64 + 1))
    }

    /// How many attempts have failed in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

/// A random number for the jitter.
pub fn random() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_begin_anew_after_a_lasting_connection() {
        let mut backoff = Backoff::default();
        let mut check = |lasted_ms, random, expect_ms| {
            assert_eq!(backoff.after(Duration::from_millis(lasted_ms), random), Duration::from_millis(expect_ms));
        };
        check(0, 0, 50);
        check(0, 50, 150);
        check(0, 0, 200);
        check(4_999, 0, 400);
        check(0, 800, 1_600);
        check(0, 0, 1_600);
        check(0, 0, 2_500);
        check(0, 2_500, 5_000);
        check(5_000, 0, 50);
        check(0, 0, 100);
    }
}
