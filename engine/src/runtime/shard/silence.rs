//! Who has been silent longest.
//!
//! The question is asked only when a device has to be forgotten, so nothing is kept in order for it all the time: a look
//! at everybody finds a share of those that were silent longest, and these serve until they are used up. Who is heard of
//! meanwhile is recognised by a later time and passed over. So a session costs nothing while the table has room, and a
//! device that is forgotten costs a look at some sixteen.
//!
//! The answer is exact, whenever the look was taken: devices go in the order of the time at which they were last heard of
//! and then of their names, which is the same in every replay of the log.

use std::collections::{BTreeSet, BinaryHeap};

use compact_str::CompactString;

use crate::clock::LogTime;

/// When a device was last heard of, and its name: the order in which devices are forgotten.
pub(super) type Silent = (LogTime, CompactString);

/// One look finds this share of the devices.
const SHARE: usize = 16;

/// Those that were silent longest, as far as they are known.
#[derive(Debug, Default)]
pub(super) struct Silence {
    found: BTreeSet<Silent>,
    /// Whoever is not in `found` comes behind this.
    bound: Silent,
}

impl Silence {
    /// A device is heard of at `now`. It matters only within the same instant as the last look: then the name decides.
    #[inline]
    pub(super) fn heard(&mut self, now: LogTime, name: &CompactString) {
        if now <= self.bound.0 && (now, name) < (self.bound.0, &self.bound.1) {
            self.found.insert((now, name.clone()));
        }
    }

    /// The device that was silent longest, if it was last heard of at `upto` or before. `last_seen` gives the time of a
    /// device that is known; `everybody`, all of these, which are `count`.
    pub(super) fn longest<'a, I: Iterator<Item = (LogTime, &'a CompactString)>>(
        &mut self,
        upto: LogTime,
        count: usize,
        last_seen: impl Fn(&CompactString) -> Option<LogTime>,
        everybody: impl Fn() -> I,
    ) -> Option<CompactString> {
        loop {
            while let Some((seen, name)) = self.found.first() {
                if *seen > upto {
                    return None;
                }
                if last_seen(name) == Some(*seen) {
                    return Some(name.clone());
                }
                self.found.pop_first();
            }
            if self.bound.0 > upto || count == 0 {
                return None;
            }
            self.look(count, everybody());
        }
    }

    fn look<'a>(&mut self, count: usize, everybody: impl Iterator<Item = (LogTime, &'a CompactString)>) {
        let most = count / SHARE + 1;
        let mut found: BinaryHeap<Silent> = BinaryHeap::with_capacity(most + 1);
        for (seen, name) in everybody {
            let is_silent_longer = |(last, its): &Silent| (seen, name) < (*last, its);
            if found.len() < most || found.peek().is_some_and(is_silent_longer) {
                found.push((seen, name.clone()));
            }
            if found.len() > most {
                found.pop();
            }
        }
        self.bound = found.peek().cloned().unwrap_or_default();
        self.found = found.into_iter().collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn it_agrees_with_a_sorted_list(
            steps in proptest::collection::vec((0u8..60, 0u64..3, 0u8..4), 0..400),
        ) {
            let (mut silence, mut known) = (Silence::default(), HashMap::<CompactString, LogTime>::new());
            let mut now = LogTime(5);
            for (device, passed, what) in steps {
                now = LogTime(now.0 + passed);
                let upto = if what == 0 { LogTime(now.0.saturating_sub(6)) } else { LogTime(u64::MAX) };
                if what <= 1 {
                    let expect = known.iter().map(|(name, seen)| (*seen, name.clone())).min();
                    let expect = expect.filter(|(seen, _)| *seen <= upto).map(|(_, name)| name);
                    let last_seen = |name: &CompactString| known.get(name).copied();
                    let everybody = || known.iter().map(|(name, seen)| (*seen, name));
                    let found = silence.longest(upto, known.len(), last_seen, everybody);
                    prop_assert_eq!(&found, &expect);
                    found.map(|name| known.remove(&name));
                } else {
                    let name = CompactString::from(format!("d{device}"));
                    silence.heard(now, &name);
                    known.insert(name, now);
                }
            }
        }
    }

    #[test]
    fn one_look_serves_many() {
        let known: Vec<_> = (0..1600u64).map(|n| (LogTime(n), CompactString::from(format!("d{n:04}")))).collect();
        let (mut silence, looks) = (Silence::default(), std::cell::Cell::new(0));
        for gone in 0..100 {
            let last_seen = |name: &CompactString| name[1..].parse().ok().filter(|n| *n >= gone).map(LogTime);
            let everybody = || {
                looks.set(looks.get() + 1);
                known[gone as usize..].iter().map(|(seen, name)| (*seen, name))
            };
            let found = silence.longest(LogTime(u64::MAX), 1600 - gone as usize, last_seen, everybody);
            assert_eq!(found.as_deref(), Some(&*format!("d{gone:04}")));
        }
        assert_eq!(looks.get(), 1);
    }
}
