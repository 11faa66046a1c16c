//! Whether a producer stands still although its cluster does not.
//!
//! It may have lost sight of the cluster without a word, so it is soon asked whether the brokers are there.
//! No way is known in which that happens to a client that sees its cluster (one that does not is `bootstrap`'s affair);
//! should there be one, what is queued would wait for ever, and a new client asks afresh. Pure: no clock, no I/O.

use std::time::{Duration, Instant};

/// How long the oldest batch may be the oldest before the client has to show that it sees its brokers.
const DOUBTED: Duration = Duration::from_secs(2);
/// How long the oldest batch may be the oldest while the cluster answers. A leader that has appended it does not say so
/// before a follower that hangs is out of the in-sync replicas, 45 s by default (1.5 × `replica.lag.time.max.ms`); until
/// then a new client would not see it in the log, and would write it a second time.
const STALLED: Duration = Duration::from_secs(90);

/// What to think of a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It gets on, or has nothing to do.
    Well,
    /// Its brokers may be gone, or it may think so.
    Doubted,
    /// If its brokers are there, it stands still.
    Suspected,
}

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

    /// Looks at the number of the oldest batch, and for how long it has been that.
    pub(super) fn look(&mut self, oldest: Option<u64>, now: Instant) -> Standing {
        if oldest != self.oldest {
            (self.oldest, self.since) = (oldest, now);
        }
        match now.duration_since(self.since) {
            waited if oldest.is_some() && waited >= STALLED => Standing::Suspected,
            waited if oldest.is_some() && waited >= DOUBTED => Standing::Doubted,
            _ => Standing::Well,
        }
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
        assert_eq!(stall.look(None, at(100)), Standing::Well, "nothing is under way");
        assert_eq!(stall.look(Some(1), at(101)), Standing::Well);
        assert_eq!(stall.look(Some(2), at(120)), Standing::Well);
        assert_eq!(stall.look(Some(2), at(121)), Standing::Well);
        assert_eq!(stall.look(Some(2), at(122)), Standing::Doubted);
        assert_eq!(stall.look(Some(2), at(209)), Standing::Doubted);
        assert_eq!(stall.look(Some(2), at(210)), Standing::Suspected);
        stall.excuse(at(210));
        assert_eq!(stall.look(Some(2), at(211)), Standing::Well);
        assert_eq!(stall.look(Some(2), at(299)), Standing::Doubted);
        assert_eq!(stall.look(Some(2), at(300)), Standing::Suspected);
    }
}
