//! How long to wait before trying again: exponential back-off with jitter, as a pure state machine.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Exponential back-off: `initial`, then twice as long each time, at most `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackoffPolicy {
    /// The first wait.
    pub initial: Duration,
    /// The longest wait.
    pub max: Duration,
}

impl Default for BackoffPolicy {
    fn default() -> Self {
        BackoffPolicy { initial: Duration::from_millis(100), max: Duration::from_secs(10) }
    }
}

impl BackoffPolicy {
    /// The wait before attempt `failures + 1`, without jitter. `failures` counts from 1.
    pub fn base(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.initial.saturating_mul(1 << doublings).min(self.max)
    }
}

/// A run of failures and the waits between them.
///
/// Jitter is "equal": half of the base wait and a pseudo-random part of the other half, so that instances that failed
/// together do not come back together. The sequence depends on the seed alone, so a simulation repeats it.
#[derive(Clone, Debug)]
pub struct Backoff {
    policy: BackoffPolicy,
    failures: u32,
    random: u64,
}

impl Backoff {
    /// No failures yet. `seed` should differ between those that must not come back together.
    pub fn new(policy: BackoffPolicy, seed: u64) -> Self {
        Backoff { policy, failures: 0, random: seed | 1 }
    }

    /// Another failure: how long to wait now.
    pub fn next_delay(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        // xorshift64: enough for jitter, and no generator to carry around.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let half = self.policy.base(self.failures) / 2;
        half + half.mul_f64((self.random >> 11) as f64 / (1u64 << 53) as f64)
    }

    /// It worked: the next failure is a first one.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// The failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let policy = BackoffPolicy { initial: Duration::from_millis(100), max: Duration::from_secs(1) };
        let waits: Vec<_> = (1..=6).map(|failures| policy.base(failures).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(policy.base(u32::MAX), policy.max, "no overflow after years of failing");
    }

    #[test]
    fn jitter_stays_within_the_upper_half_and_repeats_with_its_seed() {
        let policy = BackoffPolicy::default();
        let waits = |seed| {
            let mut backoff = Backoff::new(policy, seed);
            (0..20).map(|_| backoff.next_delay()).collect::<Vec<_>>()
        };
        for (failures, wait) in (1..).zip(waits(7)) {
            assert!(wait >= policy.base(failures) / 2 && wait <= policy.base(failures));
        }
        assert_eq!(waits(7), waits(7));
        assert_ne!(waits(7), waits(8));
    }
}
