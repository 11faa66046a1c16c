//! How far back a log is read for what it has of an MQTT session.
//!
//! Wanted are the newest productions of a session, wherever they stand: evenly over all partitions as a rule, all in one
//! at worst. So every partition is read backwards, in steps that double, until nothing further back in it can be among
//! them: deliveries rise with the offsets of a partition.

use std::ops::Range;

use telemill_engine::ports::Taken;

/// Where what is to be read of a partition begins: behind what was `read` of each, and `limit` records before the end at
/// the earliest. `low`, `end`: the first offset and the one behind the last.
pub(crate) fn behind(read: &[i64], partition: i32, (low, end): (i64, i64), limit: usize) -> i64 {
    let read = usize::try_from(partition).ok().and_then(|partition| read.get(partition)).copied();
    // One that ends before that was made anew.
    newest(low, end, limit).max(read.filter(|read| *read <= end).unwrap_or(0))
}

/// Where the last `limit` records begin between the first offset and the one behind the last.
fn newest(low: i64, end: i64, limit: usize) -> i64 {
    low.max(end.saturating_sub(i64::try_from(limit).unwrap_or(i64::MAX)))
}

/// What has been read of the ends of some partitions, and what is to be read next. Partitions are named by their place
/// in the list that it was made of.
#[derive(Debug)]
pub(crate) struct Tail {
    limit: usize,
    step: i64,
    partitions: Vec<Partition>,
    found: Vec<Taken>,
}

#[derive(Debug)]
struct Partition {
    /// As far back as `limit` productions can reach.
    floor: i64,
    /// Everything from here on has been read.
    from: i64,
    /// The lowest delivery read so far.
    oldest: Option<u64>,
}

impl Tail {
    /// The last `limit` productions are wanted, of partitions with these bounds: the first offset and the one behind the
    /// last.
    pub(crate) fn new(limit: usize, bounds: impl IntoIterator<Item = (i64, i64)>) -> Self {
        let partition = |(low, end)| Partition { floor: newest(low, end, limit), from: end, oldest: None };
        let partitions: Vec<Partition> = bounds.into_iter().map(partition).collect();
        // As much as there is in each when they are equally full, and some more, because they never quite are.
        let share = limit / partitions.len().max(1);
        let step = i64::try_from(share + share / 8).unwrap_or(i64::MAX).max(1);
        Tail { limit, step, partitions, found: Vec::new() }
    }

    /// What is to be read now, and given to [`Tail::found`]; nothing when that is all.
    pub(crate) fn next(&mut self) -> Vec<(usize, Range<i64>)> {
        let enough = self.lowest_wanted();
        let mut ranges = Vec::new();
        for (place, partition) in self.partitions.iter_mut().enumerate() {
            let is_behind = partition.oldest.zip(enough).is_some_and(|(oldest, enough)| oldest <= enough);
            if partition.from > partition.floor && !is_behind {
                let from = partition.floor.max(partition.from.saturating_sub(self.step));
                ranges.push((place, from..partition.from));
                partition.from = from;
            }
        }
        self.step = self.step.saturating_mul(2);
        ranges
    }

    /// A record of the session was read.
    pub(crate) fn found(&mut self, partition: usize, taken: Taken) {
        let (oldest, delivery) = (&mut self.partitions[partition].oldest, taken.origin.delivery);
        *oldest = Some(oldest.map_or(delivery, |oldest| oldest.min(delivery)));
        self.found.push(taken);
    }

    /// The newest `limit` of what was found, newest first.
    pub(crate) fn into_newest(mut self) -> Vec<Taken> {
        self.found.sort_unstable_by_key(|taken| std::cmp::Reverse(taken.origin.delivery));
        self.found.truncate(self.limit);
        self.found
    }

    /// The lowest of the deliveries that are wanted, when enough of them are known.
    fn lowest_wanted(&mut self) -> Option<u64> {
        let last = self.limit.checked_sub(1).filter(|last| *last < self.found.len())?;
        let (_, lowest, _) =
            self.found.select_nth_unstable_by_key(last, |taken| std::cmp::Reverse(taken.origin.delivery));
        Some(lowest.origin.delivery)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use telemill_engine::record::Origin;
    use ulid::Ulid;

    use super::*;

    fn taken(delivery: u64) -> Taken {
        let origin = Origin { slot: 0, slot_session: Ulid(1), delivery, packet_id: 1, payload_hash: 1 };
        Taken { origin, given_up_by: None }
    }

    /// Reads partitions whose records have these deliveries, 0 being somebody else's; also how many records were read.
    fn read(limit: usize, partitions: &[Vec<u64>]) -> (Vec<u64>, usize) {
        let mut tail = Tail::new(limit, partitions.iter().map(|partition| (0, partition.len() as i64)));
        let mut count = 0;
        loop {
            let ranges = tail.next();
            if ranges.is_empty() {
                return (tail.into_newest().iter().map(|taken| taken.origin.delivery).collect(), count);
            }
            for (place, range) in ranges {
                count += range.clone().count();
                let read = &partitions[place][range.start as usize..range.end as usize];
                read.iter().filter(|delivery| **delivery > 0).for_each(|d| tail.found(place, taken(*d)));
            }
        }
    }

    #[test]
    fn what_was_read_is_not_read_again_and_no_more_than_the_newest() {
        let check =
            |read: &[i64], bounds, expect| assert_eq!(behind(read, 1, bounds, 100), expect, "{read:?} {bounds:?}");
        check(&[], (0, 50), 0);
        check(&[], (20, 500), 400);
        check(&[], (450, 500), 450);
        check(&[9, 480], (20, 500), 480);
        check(&[9, 80], (20, 500), 400);
        check(&[9, 500], (20, 500), 500);
        check(&[9, 500], (0, 20), 0);
    }

    #[test]
    fn partitions_that_are_equally_full_are_read_no_further_than_needed() {
        let partitions: Vec<Vec<u64>> = (0..8).map(|p| (0..10_000).map(|n| n * 8 + p + 1).collect()).collect();
        let (newest, count) = read(800, &partitions);
        assert_eq!(newest, (79_201..=80_000).rev().collect::<Vec<u64>>());
        assert!(count < 1000, "{count} records were read for 800");
    }

    #[test]
    fn one_partition_may_have_it_all() {
        let partitions = [vec![1, 2], (3..5000).collect(), vec![0; 5000], vec![]];
        let (newest, _) = read(1000, &partitions);
        assert_eq!(newest, (4000..5000).rev().collect::<Vec<u64>>());
    }

    proptest! {
        #[test]
        fn the_newest_are_found_wherever_they_are(
            places in proptest::collection::vec(0usize..4, 0..600),
            limit in 1usize..300,
        ) {
            let mut partitions = vec![Vec::new(); 4];
            for (delivery, place) in (1..).zip(&places) {
                partitions[*place].push(delivery);
            }
            let newest: Vec<u64> = (1..=places.len() as u64).rev().take(limit).collect();
            prop_assert_eq!(read(limit, &partitions).0, newest);
        }
    }
}
