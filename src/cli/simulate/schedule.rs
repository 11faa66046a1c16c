//! Who publishes when: pure, and handed the time.
//!
//! The devices take turns, one record each, at even distances; a hello of every device comes once a period, spread over
//! it. What the broker holds up is caught up with: the schedule knows due times, not pauses. With a rate the due times,
//! and so everything that is sent, depend on the arguments alone; at full speed a record is due when it is asked for.

use std::time::Duration;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// This device publishes a record.
    Data(u32),
    /// This device says hello.
    Hello(u32),
    /// Nothing until then.
    Wait(Duration),
    /// It is over.
    Done,
}

/// What a schedule is made from. Times count from the start.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    /// At least 1.
    pub(super) devices: u32,
    /// Records a second of all devices; 0 is full speed.
    pub(super) rate: f64,
    /// So many records.
    pub(super) count: Option<u64>,
    /// So long.
    pub(super) lasts: Option<Duration>,
    /// The period of hellos; none, no hellos.
    pub(super) hello_every: Option<Duration>,
    /// The first so many devices fall silent …
    pub(super) silent: u32,
    /// … at this time.
    pub(super) silent_after: Duration,
}

/// A schedule, and how far it has come.
#[derive(Debug)]
pub(super) struct Schedule {
    terms: Terms,
    turn: u64,
    hello: u64,
    records: u64,
}

impl Schedule {
    pub(super) fn new(terms: Terms) -> Self {
        Schedule { terms, turn: 0, hello: 0, records: 0 }
    }

    /// What is to be done at `now`.
    pub(super) fn next(&mut self, now: Duration) -> Step {
        loop {
            if self.terms.count.is_some_and(|count| self.records >= count) {
                return Step::Done;
            }
            let (data, hello) = (self.data_due(now), self.hello_due());
            let due = hello.map_or(data, |hello| hello.min(data));
            let all_silent = self.terms.silent >= self.terms.devices && due >= self.terms.silent_after;
            if all_silent || self.terms.lasts.is_some_and(|lasts| due >= lasts) {
                return Step::Done;
            }
            if due > now {
                return Step::Wait(due);
            }
            let is_hello = hello == Some(due);
            let counter = if is_hello { &mut self.hello } else { &mut self.turn };
            let device = (*counter % u64::from(self.terms.devices)) as u32;
            *counter += 1;
            if device < self.terms.silent && due >= self.terms.silent_after {
                continue;
            }
            if is_hello {
                return Step::Hello(device);
            }
            self.records += 1;
            return Step::Data(device);
        }
    }

    fn data_due(&self, now: Duration) -> Duration {
        match self.terms.rate > 0.0 {
            true => seconds(self.turn as f64 / self.terms.rate),
            false => now,
        }
    }

    fn hello_due(&self) -> Option<Duration> {
        let every = self.terms.hello_every?;
        Some(seconds(every.as_secs_f64() * self.hello as f64 / f64::from(self.terms.devices)))
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::Step::{Data, Done, Hello, Wait};
    use super::*;

    const TERMS: Terms = Terms {
        devices: 2,
        rate: 4.0,
        count: None,
        lasts: None,
        hello_every: None,
        silent: 0,
        silent_after: Duration::from_secs(1),
    };

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Asks at each time until there is nothing to do at that time.
    fn check(terms: Terms, at_ms: &[u64], expect: &[Step]) {
        let mut schedule = Schedule::new(terms.clone());
        let mut steps = Vec::new();
        for at in at_ms {
            loop {
                let step = schedule.next(ms(*at));
                steps.push(step);
                if matches!(step, Wait(_) | Done) {
                    break;
                }
            }
        }
        assert_eq!(steps, expect, "{terms:?} at {at_ms:?}");
    }

    #[test]
    fn devices_take_turns_at_the_rate() {
        check(TERMS, &[0, 100, 250], &[Data(0), Wait(ms(250)), Wait(ms(250)), Data(1), Wait(ms(500))]);
    }

    #[test]
    fn what_was_held_up_is_caught_up_with() {
        check(TERMS, &[0, 800], &[Data(0), Wait(ms(250)), Data(1), Data(0), Data(1), Wait(ms(1000))]);
    }

    #[test]
    fn it_ends_after_the_count_and_at_the_time() {
        let counted = Terms { count: Some(3), ..TERMS };
        check(counted.clone(), &[5000], &[Data(0), Data(1), Data(0), Done]);
        check(Terms { rate: 0.0, ..counted }, &[0], &[Data(0), Data(1), Data(0), Done]);
        // Due before half a second: at 0 and 250 ms.
        check(Terms { lasts: Some(ms(500)), ..TERMS }, &[5000], &[Data(0), Data(1), Done]);
        check(Terms { count: Some(0), ..TERMS }, &[0], &[Done]);
    }

    #[test]
    fn at_full_speed_a_record_is_always_due() {
        let mut schedule = Schedule::new(Terms { rate: 0.0, lasts: Some(ms(10)), ..TERMS });
        assert_eq!([schedule.next(ms(1)), schedule.next(ms(1)), schedule.next(ms(9))], [Data(0), Data(1), Data(0)]);
        assert_eq!(schedule.next(ms(10)), Done);
    }

    #[test]
    fn hellos_are_spread_over_their_period() {
        let terms = Terms { rate: 0.5, hello_every: Some(ms(1000)), ..TERMS };
        check(terms, &[0, 1000], &[Hello(0), Data(0), Wait(ms(500)), Hello(1), Hello(0), Wait(ms(1500))]);
    }

    #[test]
    fn a_silent_device_sends_nothing_any_more_and_the_others_do_not_speed_up() {
        let terms = Terms { silent: 1, count: Some(5), hello_every: Some(ms(2000)), ..TERMS };
        let before = [Hello(0), Data(0), Data(1), Data(0), Data(1)];
        check(terms.clone(), &[900], &[before.as_slice(), &[Wait(ms(1000))]].concat());
        check(terms, &[1200, 1300], &[before.as_slice(), &[Hello(1), Wait(ms(1250)), Data(1), Done]].concat());
    }

    #[test]
    fn a_fleet_that_is_silent_to_the_last_device_is_done() {
        let terms = Terms { silent: 2, ..TERMS };
        check(terms.clone(), &[3000], &[Data(0), Data(1), Data(0), Data(1), Done]);
        let mut schedule = Schedule::new(Terms { rate: 0.0, ..terms });
        assert_eq!([schedule.next(ms(999)), schedule.next(ms(1000))], [Data(0), Done]);
    }

    #[test]
    fn a_rate_near_zero_waits_for_ever() {
        let mut schedule = Schedule::new(Terms { rate: 1e-300, ..TERMS });
        assert_eq!([schedule.next(ms(0)), schedule.next(ms(1))], [Data(0), Wait(Duration::MAX)]);
    }
}
