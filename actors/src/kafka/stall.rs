//! Whether a producer stands still although its cluster does not.
//!
//! A client that was told in a bad moment that a partition has no leader may never hear of the next one (seen with
//! librdkafka 2 behind a broker that stood still for some seconds): then what is queued for the partition waits for ever.
//! A new client asks afresh. Pure: no clock, no I/O.

use std::time::{Duration, Instant};

/// How long the oldest batch may be the oldest while the cluster answers: longer than a request and its repetition take.
const STALLED: Duration = Duration::from_secs(20);

/// Watches the oldest batch that is not answered.
#[derive(Debug)]
pub(super) struct Stall {
    oldest: Option<u64>,
    since: Instant,
}

impl Stall {
    pub(super) fn new(now: Instant) -> Self {
        Stall { oldest: None, since: now }
    }

    /// Looks at the number of the oldest batch; whether it has been that for too long.
    pub(super) fn is_suspected(&mut self, oldest: Option<u64>, now: Instant) -> bool {
        if oldest != self.oldest {
            (self.oldest, self.since) = (oldest, now);
        }
        oldest.is_some() && now.duration_since(self.since) >= STALLED
    }

    /// The cluster is at fault: the time until now does not count.
    pub(super) fn excuse(&mut self, now: Instant) {
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_batch_that_stays_the_oldest_is_suspected_and_an_outage_does_not_count() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut stall = Stall::new(start);
        assert!(!stall.is_suspected(None, at(100)), "nothing is under way");
        assert!(!stall.is_suspected(Some(1), at(101)));
        assert!(!stall.is_suspected(Some(2), at(120)));
        assert!(!stall.is_suspected(Some(2), at(139)));
        assert!(stall.is_suspected(Some(2), at(140)));
        stall.excuse(at(140));
        assert!(!stall.is_suspected(Some(2), at(159)));
        assert!(stall.is_suspected(Some(2), at(160)));
    }
}
