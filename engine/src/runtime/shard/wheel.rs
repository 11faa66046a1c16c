//! A timing wheel for a shard: one wake-up per session, by slot.
//!
//! Hierarchical, four levels of 64 buckets over ticks of 250 ms: a wake-up within 16 s lies in the first level, within
//! 17 min in the second, 18 h in the third, 48 days in the fourth; what is further away waits beside the levels and is
//! looked at every 18 h. An entry is 8 bytes and is never moved or removed when its session asks for a later time: it
//! fires, the shard sees that it is early, and puts it back. So pushing `offline_after` forward with every record costs
//! nothing.

use crate::clock::LogTime;

const TICK_MS: u64 = 250;
const BITS: u32 = 6;
const BUCKETS: usize = 1 << BITS;
const LEVELS: usize = 4;

/// A wake-up in a bucket. Which time a bucket begins at follows from where it stands and from the present tick.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Milliseconds behind the beginning of its bucket: even the longest is 18 h.
    after: u32,
    slot: u32,
}

/// The wake-ups of a shard.
#[derive(Debug)]
pub(super) struct Wheel {
    levels: [Vec<Vec<Entry>>; LEVELS],
    /// All ticks before this one have fired.
    tick: u64,
    /// Not later than the earliest entry of the present tick: most advances end by looking at this.
    next_in_tick: LogTime,
    /// Before the present tick: handed out with the next advance.
    overdue: Vec<(LogTime, u32)>,
    /// Beyond the last level.
    far: Vec<(LogTime, u32)>,
    len: usize,
}

impl Wheel {
    /// No wake-ups; time begins at `now`.
    pub(super) fn new(now: LogTime) -> Self {
        let levels = std::array::from_fn(|_| vec![Vec::new(); BUCKETS]);
        let (tick, next_in_tick) = (now.0 / TICK_MS, LogTime(u64::MAX));
        Wheel { levels, tick, next_in_tick, overdue: Vec::new(), far: Vec::new(), len: 0 }
    }

    /// Wakes `slot` at `at`, or with the next advance if that is past.
    pub(super) fn insert(&mut self, at: LogTime, slot: u32) {
        self.len += 1;
        self.place(at, slot);
    }

    /// Moves time to `now` and hands out every slot whose time has come, the earliest first.
    #[inline]
    pub(super) fn advance(&mut self, now: LogTime, due: &mut Vec<(LogTime, u32)>) {
        if now.0 / TICK_MS != self.tick || now >= self.next_in_tick {
            self.go_on(now, due);
        }
    }

    fn go_on(&mut self, now: LogTime, due: &mut Vec<(LogTime, u32)>) {
        let target = now.0 / TICK_MS;
        let first = due.len();
        loop {
            self.fire(now, due);
            if self.tick >= target {
                break;
            }
            if self.len == 0 {
                self.tick = target;
                self.next_in_tick = LogTime(u64::MAX);
                break;
            }
            self.tick += 1;
            self.cascade();
        }
        due[first..].sort_unstable();
    }

    /// The number of wake-ups.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.len
    }

    fn place(&mut self, at: LogTime, slot: u32) {
        let tick = at.0 / TICK_MS;
        if tick <= self.tick {
            self.next_in_tick = self.next_in_tick.min(at);
        }
        let Some(ahead) = tick.checked_sub(self.tick) else { return self.overdue.push((at, slot)) };
        let Some(level) = (0..LEVELS as u32).find(|level| ahead < 1 << (BITS * (level + 1))) else {
            return self.far.push((at, slot));
        };
        let bucket = tick >> (BITS * level);
        let after = (at.0 - (bucket << (BITS * level)) * TICK_MS) as u32;
        self.levels[level as usize][bucket as usize % BUCKETS].push(Entry { after, slot });
    }

    /// Hands out what is due of the present tick; what comes later within the tick stays.
    fn fire(&mut self, now: LogTime, due: &mut Vec<(LogTime, u32)>) {
        self.len -= self.overdue.len();
        due.append(&mut self.overdue);
        let bucket = &mut self.levels[0][self.tick as usize % BUCKETS];
        let before = bucket.len();
        let begin = self.tick * TICK_MS;
        let mut next = LogTime(u64::MAX);
        bucket.retain(|entry| {
            let at = LogTime(begin + u64::from(entry.after));
            if at <= now {
                due.push((at, entry.slot));
                return false;
            }
            next = next.min(at);
            true
        });
        self.next_in_tick = next;
        self.len -= before - bucket.len();
    }

    /// Spreads the bucket of each level that the present tick has just reached over the levels below.
    fn cascade(&mut self) {
        for level in 1..LEVELS {
            if !self.tick.is_multiple_of(1 << (BITS * level as u32)) {
                return;
            }
            let bucket = (self.tick >> (BITS * level as u32)) as usize % BUCKETS;
            for entry in std::mem::take(&mut self.levels[level][bucket]) {
                // A bucket is reached when the present tick is its first.
                self.place(LogTime(self.tick * TICK_MS + u64::from(entry.after)), entry.slot);
            }
        }
        for (at, slot) in std::mem::take(&mut self.far) {
            self.place(at, slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_fires_early_and_nothing_is_left_behind() {
        let mut wheel = Wheel::new(LogTime(1000));
        wheel.insert(LogTime(1600), 1);
        wheel.insert(LogTime(1601), 2);
        wheel.insert(LogTime(500), 3);
        let mut due = Vec::new();
        wheel.advance(LogTime(1600), &mut due);
        assert_eq!(due, [(LogTime(500), 3), (LogTime(1600), 1)]);
        due.clear();
        wheel.advance(LogTime(1601), &mut due);
        assert_eq!(due, [(LogTime(1601), 2)]);
        assert_eq!(wheel.len(), 0);
    }

    #[test]
    fn what_is_far_away_comes_in_time() {
        let day = 86_400_000;
        let mut wheel = Wheel::new(LogTime(0));
        wheel.insert(LogTime(100 * day), 1);
        let mut due = Vec::new();
        for hours in 0..100 * 24 {
            wheel.advance(LogTime(hours * day / 24), &mut due);
        }
        wheel.advance(LogTime(100 * day - 1), &mut due);
        assert_eq!(due, []);
        wheel.advance(LogTime(100 * day), &mut due);
        assert_eq!(due, [(LogTime(100 * day), 1)]);
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_sorted_list(
            start in 0u64..1 << 40,
            steps in proptest::collection::vec((0u64..200_000_000, 0u64..40_000), 1..60),
        ) {
            let mut wheel = Wheel::new(LogTime(start));
            let mut model: Vec<(LogTime, u32)> = Vec::new();
            let mut now = start;
            for (slot, (ahead, step)) in steps.into_iter().enumerate() {
                wheel.insert(LogTime(now + ahead), slot as u32);
                model.push((LogTime(now + ahead), slot as u32));
                // Now and then a leap over many rounds of the lower levels.
                now += if slot % 7 == 6 { step * 500 } else { step };
                let mut due = Vec::new();
                wheel.advance(LogTime(now), &mut due);
                let mut expect: Vec<_> = model.iter().copied().filter(|(at, _)| at.0 <= now).collect();
                model.retain(|(at, _)| at.0 > now);
                expect.sort_unstable();
                prop_assert_eq!(due, expect);
            }
            prop_assert_eq!(wheel.len(), model.len());
        }
    }
}
