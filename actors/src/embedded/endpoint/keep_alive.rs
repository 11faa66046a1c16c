//! Whether a client is still there. Pure.
//!
//! A client promises to send something within its keep-alive; one and a half times that without a word, and it is taken
//! for gone. What we do not read we cannot hear, so the clock stands while reading is paused.

use std::time::Duration;

use tokio::time::Instant;

/// One client's promise.
#[derive(Debug)]
pub(crate) struct KeepAlive {
    /// How long it may be silent; none where it promised nothing.
    grace: Option<Duration>,
    heard: Instant,
    paused: bool,
}

impl KeepAlive {
    /// Of a client that was just heard; 0 seconds stand for no promise.
    pub(crate) fn new(seconds: u16, now: Instant) -> Self {
        let grace = (seconds > 0).then(|| Duration::from_secs(seconds.into()) * 3 / 2);
        KeepAlive { grace, heard: now, paused: false }
    }

    /// Something came.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// Whether it is read or not from now on. The clock begins anew when reading does.
    pub(crate) fn set_reading(&mut self, reading: bool, now: Instant) {
        if self.paused && reading {
            self.heard = now;
        }
        self.paused = !reading;
    }

    /// When the client is to be taken for gone, if nothing comes and nothing changes.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.grace.filter(|_| !self.paused).map(|grace| self.heard + grace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_client_is_gone_after_one_and_a_half_keep_alives() {
        let start = Instant::now();
        let mut client = KeepAlive::new(10, start);
        assert_eq!(client.deadline(), Some(start + Duration::from_secs(15)));
        client.heard(start + Duration::from_secs(12));
        assert_eq!(client.deadline(), Some(start + Duration::from_secs(27)));
    }

    #[test]
    fn a_client_without_a_promise_is_never_gone() {
        assert_eq!(KeepAlive::new(0, Instant::now()).deadline(), None);
    }

    #[test]
    fn the_clock_stands_while_nobody_reads_and_begins_anew_with_reading() {
        let start = Instant::now();
        let mut client = KeepAlive::new(10, start);
        client.set_reading(false, start + Duration::from_secs(14));
        assert_eq!(client.deadline(), None);
        client.set_reading(true, start + Duration::from_secs(100));
        assert_eq!(client.deadline(), Some(start + Duration::from_secs(115)));
        client.set_reading(true, start + Duration::from_secs(110));
        assert_eq!(client.deadline(), Some(start + Duration::from_secs(115)), "it was reading all along");
    }
}
