//! Whether a member that was fenced met another process, or itself.
//!
//! The group has one member of a name (`group.instance.id`): whoever joins under it replaces the one before, which is
//! fenced. That is how a second process is noticed. But a member whose answer from the coordinator was lost with its
//! connection joins again, too, and fences its own former request. So being fenced once means to join again; being fenced
//! again soon means that somebody else does the same.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What is called soon: longer than two processes take to fence each other in turn.
const SOON: Duration = Duration::from_secs(60);

/// When a source was fenced, over all its rebuilds in this process.
#[derive(Clone, Debug, Default)]
pub(super) struct Fences(Arc<Mutex<Option<Instant>>>);

impl Fences {
    /// It is fenced; whether that happened before, and not long ago.
    pub(super) fn is_again(&self, now: Instant) -> bool {
        let before = self.0.lock().unwrap_or_else(PoisonError::into_inner).replace(now);
        before.is_some_and(|before| now.duration_since(before) < SOON)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_second_fence_within_a_minute_is_somebody_elses() {
        let (fences, start) = (Fences::default(), Instant::now());
        let rebuilt = fences.clone();
        assert!(!fences.is_again(start));
        assert!(rebuilt.is_again(start + Duration::from_secs(59)));
        assert!(!fences.is_again(start + Duration::from_secs(120)));
    }
}
