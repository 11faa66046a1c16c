//! When a slot may say that time has passed.
//!
//! A mark (`docs/formats.md`, "Time") moves the clock of all timers behind the log. It may only cover time in which a
//! device that spoke would have been heard. So for a mark
//!
//! - the broker must have been heard from within the keep-alive: a frozen broker keeps its connections open;
//! - the socket must be read: what waits in it has not been heard;
//! - no message may wait for its acknowledgement for longer than the keep-alive: when nothing behind the ingress moves,
//!   the broker's window fills, and it keeps the rest to itself.
//!
//! Where one of these does not hold there is a break, and time counts again only from its end. So it is when a beat comes
//! late: the process stood still, and what devices said meanwhile is yet to be read. And a mark never covers more than has
//! passed by the monotonic clock, however far the wall's was set.
//!
//! Pure: is handed both clocks, the monotonic one for judging and the wall's for the mark.

use std::time::Duration;

use telemill_engine::clock::Timestamp;
use tokio::time::Instant;

/// A beat comes every second. One that comes later than this says that the process stood still.
const LATE: Duration = Duration::from_secs(3);

/// How far the two clocks may go apart from beat to beat without one having been set, in milliseconds: they are read one
/// after the other, and the wall's is disciplined.
const APART: u64 = 100;

/// A span of time in which the slot's session was alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) since: Timestamp,
    pub(crate) time: Timestamp,
}

/// What proves that a session is alive.
#[derive(Debug)]
pub(crate) struct Pulse {
    keep_alive: Duration,
    heard: Instant,
    /// Up to where time is covered by marks; none in a break.
    since: Option<Timestamp>,
    /// When time was last found to be covered, or to begin.
    beaten: Instant,
    /// The message that has waited longest for its acknowledgement, and since when it is known to.
    oldest: Option<(u64, Instant)>,
}

impl Pulse {
    /// A session that is not serving yet.
    pub(crate) fn new(keep_alive: Duration, now: Instant) -> Self {
        Pulse { keep_alive, heard: now, since: None, beaten: now, oldest: None }
    }

    /// The session serves from now on: it was resumed, or what it subscribes to is confirmed.
    pub(crate) fn serves(&mut self, now: Instant, wall: Timestamp) {
        self.since = Some(wall);
        self.beaten = now;
    }

    /// A packet came.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// Whether the broker has been silent for so long that the connection is taken for dead.
    pub(crate) fn is_silent(&self, now: Instant) -> bool {
        now - self.heard > self.keep_alive * 3 / 2
    }

    /// A second has passed: the time that may be marked, if any. `serving`: the session serves; `reading`: the socket is
    /// read; `oldest`: the name of the message that has waited longest for its acknowledgement.
    pub(crate) fn beat(
        &mut self,
        now: Instant,
        wall: Timestamp,
        serving: bool,
        reading: bool,
        oldest: Option<u64>,
    ) -> Option<Span> {
        if !reading {
            // What nobody reads cannot be heard: the broker's silence says nothing.
            self.heard = now;
        }
        self.oldest = match (oldest, self.oldest) {
            (Some(name), Some((known, since))) if name == known => Some((known, since)),
            (Some(name), _) => Some((name, now)),
            (None, _) => None,
        };
        let passed = now - std::mem::replace(&mut self.beaten, now);
        let moving = self.oldest.is_none_or(|(_, since)| now - since < self.keep_alive);
        let alive = serving && reading && moving && now - self.heard <= self.keep_alive;
        let covered = self.since.take();
        self.since = alive.then_some(wall);
        let passed = passed.as_millis().min(u128::from(wall.0)) as u64;
        let since = covered.filter(|_| alive && passed <= LATE.as_millis() as u64)?;
        let at_most = Timestamp(wall.0 - passed);
        let was_set = at_most.0 > since.0 + APART;
        Some(Span { since: if was_set { at_most } else { since }, time: wall })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What happens in one second before its beat, and the mark that is expected of it.
    struct Second {
        heard: bool,
        reading: bool,
        oldest: Option<u64>,
        mark: Option<(u64, u64)>,
    }

    const QUIET: Second = Second { heard: false, reading: true, oldest: None, mark: None };

    fn check(seconds: &[Second]) {
        let start = Instant::now();
        let mut pulse = Pulse::new(Duration::from_secs(3), start);
        pulse.serves(start, Timestamp(0));
        for (second, does) in (1..).zip(seconds) {
            let now = start + Duration::from_secs(second);
            if does.heard {
                pulse.heard(now);
            }
            let mark = pulse.beat(now, Timestamp(second * 1000), true, does.reading, does.oldest);
            assert_eq!(mark.map(|m| (m.since.0 / 1000, m.time.0 / 1000)), does.mark, "second {second}");
        }
    }

    #[test]
    fn every_second_of_a_live_session_is_covered_once() {
        check(&[
            Second { heard: true, mark: Some((0, 1)), ..QUIET },
            Second { mark: Some((1, 2)), ..QUIET },
            Second { heard: true, mark: Some((2, 3)), ..QUIET },
        ]);
    }

    #[test]
    fn a_silent_broker_stops_time_and_a_new_span_begins_when_it_is_back() {
        check(&[
            Second { mark: Some((0, 1)), ..QUIET },
            Second { mark: Some((1, 2)), ..QUIET },
            Second { mark: Some((2, 3)), ..QUIET },
            QUIET,
            QUIET,
            Second { heard: true, ..QUIET },
            Second { heard: true, mark: Some((6, 7)), ..QUIET },
        ]);
    }

    #[test]
    fn time_stands_while_the_socket_is_not_read() {
        check(&[
            Second { mark: Some((0, 1)), ..QUIET },
            Second { reading: false, ..QUIET },
            Second { reading: false, ..QUIET },
            Second { reading: false, ..QUIET },
            QUIET,
            Second { mark: Some((5, 6)), ..QUIET },
        ]);
    }

    #[test]
    fn time_stands_while_one_message_waits_for_its_acknowledgement() {
        let waits = |name, mark| Second { heard: true, oldest: Some(name), mark, ..QUIET };
        check(&[
            waits(7, Some((0, 1))),
            waits(7, Some((1, 2))),
            waits(7, Some((2, 3))),
            waits(7, None),
            waits(7, None),
            waits(8, None),
            waits(8, Some((6, 7))),
            waits(9, Some((7, 8))),
        ]);
    }

    /// A beat: the monotonic clock, the wall's, and the mark expected, in milliseconds.
    type Beat = (u64, u64, Option<(u64, u64)>);

    fn check_clocks(beats: &[Beat]) {
        let start = Instant::now();
        let mut pulse = Pulse::new(Duration::from_secs(60), start);
        pulse.serves(start, Timestamp(100_000));
        for (at, wall, mark) in beats {
            let span = pulse.beat(start + Duration::from_millis(*at), Timestamp(*wall), true, true, None);
            assert_eq!(span.map(|span| (span.since.0, span.time.0)), *mark, "at {at}");
        }
    }

    #[test]
    fn a_clock_that_is_set_forward_makes_no_time() {
        check_clocks(&[
            (1000, 101_000, Some((100_000, 101_000))),
            (2000, 3_702_000, Some((3_701_000, 3_702_000))),
            (3000, 3_703_000, Some((3_702_000, 3_703_000))),
        ]);
    }

    #[test]
    fn time_in_which_the_process_stood_still_is_not_covered() {
        check_clocks(&[
            (1000, 101_000, Some((100_000, 101_000))),
            (31_000, 131_000, None),
            (32_000, 132_000, Some((131_000, 132_000))),
        ]);
    }

    #[test]
    fn a_session_that_does_not_serve_proves_nothing() {
        let start = Instant::now();
        let mut pulse = Pulse::new(Duration::from_secs(3), start);
        let beat = |pulse: &mut Pulse, second: u64, serving| {
            let now = start + Duration::from_secs(second);
            pulse.heard(now);
            pulse.beat(now, Timestamp(second), serving, true, None)
        };
        assert_eq!(beat(&mut pulse, 1, false), None);
        pulse.serves(start + Duration::from_secs(1), Timestamp(1));
        assert_eq!(beat(&mut pulse, 2, true), Some(Span { since: Timestamp(1), time: Timestamp(2) }));
    }

    #[test]
    fn a_connection_is_given_up_half_a_keep_alive_after_it_stopped_proving_anything() {
        let start = Instant::now();
        let mut pulse = Pulse::new(Duration::from_secs(4), start);
        assert!(!pulse.is_silent(start + Duration::from_secs(6)));
        assert!(pulse.is_silent(start + Duration::from_millis(6001)));
        pulse.heard(start + Duration::from_secs(5));
        assert!(!pulse.is_silent(start + Duration::from_secs(11)));
        pulse.beat(start + Duration::from_secs(20), Timestamp(0), true, false, None);
        assert!(!pulse.is_silent(start + Duration::from_secs(25)), "it was not read");
    }
}
