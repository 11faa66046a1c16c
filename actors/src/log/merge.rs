//! Several topics of one partition become one sequence, by time.
//!
//! The rule is in `docs/formats.md`, "Merging": records go out by the time of their arrival, made monotonic within a
//! topic, ties in the order of the topics. While the source is behind the end that a topic had at assignment, nothing
//! is given out before that topic's next record has been seen, so a replay repeats the order; after that, what is there
//! goes out. A mark waits until everything that its slot had delivered before it is out.
//!
//! Pure: it is handed what was read, and says what comes next. Lanes are the topics, by index.

use std::collections::VecDeque;

/// How much a lane holds before it asks for no more, in entries and in bytes.
const LANE_ROOM: usize = 64;
const LANE_BYTES: usize = 64 * 1024;

/// The topics of one partition, being merged.
#[derive(Debug)]
pub(crate) struct Merge<T> {
    lanes: Vec<Lane<T>>,
}

#[derive(Debug)]
struct Lane<T> {
    waiting: VecDeque<Entry<T>>,
    bytes: usize,
    /// The offset behind the last one read.
    read: i64,
    /// Everything below this offset is out, or was never there.
    out: i64,
    /// The end of the topic at assignment.
    end: i64,
    /// Whether the end of the topic has been reached since.
    caught_up: bool,
    /// The highest time read.
    time: u64,
}

#[derive(Debug)]
struct Entry<T> {
    offset: i64,
    time: u64,
    gates: Vec<Gate>,
    weight: usize,
    item: T,
}

/// What has to be out before an entry: the lane, and the last offset of it.
pub(crate) type Gate = (usize, i64);

/// What was read next in a lane.
#[derive(Debug)]
pub(crate) struct In<T> {
    pub(crate) offset: i64,
    /// Its arrival, in Unix milliseconds.
    pub(crate) time: u64,
    /// What it waits for.
    pub(crate) gates: Vec<Gate>,
    /// The bytes that it holds.
    pub(crate) weight: usize,
    pub(crate) item: T,
}

/// An entry on its way out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Out<T> {
    /// The lane it came from.
    pub(crate) lane: usize,
    pub(crate) offset: i64,
    pub(crate) weight: usize,
    pub(crate) item: T,
}

impl<T> Merge<T> {
    /// A merge of one lane for each `(first offset to read, end at assignment)`.
    pub(crate) fn new(lanes: impl IntoIterator<Item = (i64, i64)>) -> Self {
        let lane = |(start, end)| Lane {
            waiting: VecDeque::new(),
            bytes: 0,
            read: start,
            out: start,
            end,
            caught_up: start >= end,
            time: 0,
        };
        Merge { lanes: lanes.into_iter().map(lane).collect() }
    }

    /// Takes what was read next in a lane.
    pub(crate) fn push(&mut self, lane: usize, next: In<T>) {
        let In { offset, time, gates, weight, item } = next;
        let lane = &mut self.lanes[lane];
        lane.time = lane.time.max(time);
        lane.read = offset + 1;
        lane.caught_up |= lane.read >= lane.end;
        lane.bytes += weight;
        lane.waiting.push_back(Entry { offset, time: lane.time, gates, weight, item });
    }

    /// There was nothing more to read in this lane just now: what is missing below its end is a hole in the log.
    pub(crate) fn reached_end(&mut self, lane: usize) {
        let lane = &mut self.lanes[lane];
        lane.caught_up = true;
        lane.read = lane.read.max(lane.end);
        lane.settle();
    }

    /// The next entry in order, unless something has to be read first.
    pub(crate) fn pop(&mut self) -> Option<Out<T>> {
        if self.lanes.iter().any(|lane| !lane.caught_up && lane.waiting.is_empty()) {
            return None;
        }
        let heads = self.lanes.iter().enumerate().filter_map(|(at, lane)| {
            let head = lane.waiting.front()?;
            head.gates.iter().all(|gate| self.is_open(gate)).then_some((head.time, at))
        });
        let (_, at) = heads.min()?;
        let lane = &mut self.lanes[at];
        let entry = lane.waiting.pop_front()?;
        lane.out = entry.offset + 1;
        lane.bytes -= entry.weight;
        lane.settle();
        Some(Out { lane: at, offset: entry.offset, weight: entry.weight, item: entry.item })
    }

    /// Whether more can be taken for a lane. One entry that is larger than all room is taken alone.
    pub(crate) fn has_room(&self, lane: usize) -> bool {
        let lane = &self.lanes[lane];
        lane.waiting.len() < LANE_ROOM && lane.bytes < LANE_BYTES
    }

    /// The next offset to be read in a lane.
    pub(crate) fn read(&self, lane: usize) -> i64 {
        self.lanes[lane].read
    }

    fn is_open(&self, &(lane, offset): &Gate) -> bool {
        self.lanes[lane].out > offset
    }
}

impl<T> Lane<T> {
    /// With nothing waiting, everything read is out.
    fn settle(&mut self) {
        if self.waiting.is_empty() {
            self.out = self.out.max(self.read);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn push<T>(merge: &mut Merge<T>, lane: usize, offset: i64, time: u64, gates: Vec<Gate>, item: T) {
        merge.push(lane, In { offset, time, gates, weight: 1, item });
    }

    fn drain(merge: &mut Merge<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| merge.pop()).map(|out| out.item).collect()
    }

    #[test]
    fn behind_the_end_it_waits_for_every_topic() {
        let mut merge = Merge::new([(0, 2), (0, 1)]);
        push(&mut merge, 0, 0, 10, vec![], "a10");
        push(&mut merge, 0, 1, 30, vec![], "a30");
        assert_eq!(drain(&mut merge), [""; 0], "the other topic's next record may be older");
        push(&mut merge, 1, 0, 20, vec![], "b20");
        assert_eq!(drain(&mut merge), ["a10", "b20", "a30"]);
    }

    #[test]
    fn at_the_end_it_waits_for_nothing() {
        let mut merge = Merge::new([(5, 5), (0, 1)]);
        push(&mut merge, 0, 5, 30, vec![], "a30");
        assert_eq!(drain(&mut merge), [""; 0], "the second topic is behind");
        merge.reached_end(1);
        assert_eq!(drain(&mut merge), ["a30"], "what was below its end is a hole");
        push(&mut merge, 1, 9, 20, vec![], "b20");
        assert_eq!(drain(&mut merge), ["b20"], "late, but there is no waiting any more");
    }

    #[test]
    fn times_never_go_back_within_a_topic_and_ties_go_by_topic() {
        let mut merge = Merge::new([(0, 2), (0, 2)]);
        push(&mut merge, 1, 0, 50, vec![], "b50");
        push(&mut merge, 1, 1, 10, vec![], "b10 at 50");
        push(&mut merge, 0, 0, 50, vec![], "a50");
        push(&mut merge, 0, 1, 51, vec![], "a51");
        assert_eq!(drain(&mut merge), ["a50", "b50", "b10 at 50", "a51"]);
    }

    #[test]
    fn a_mark_waits_for_what_was_delivered_before_it() {
        let mut merge = Merge::new([(0, 0), (0, 0), (0, 0)]);
        push(&mut merge, 2, 0, 5, vec![(0, 1), (1, 0)], "mark");
        push(&mut merge, 2, 1, 6, vec![], "next mark");
        assert_eq!(drain(&mut merge), [""; 0]);
        push(&mut merge, 0, 0, 10, vec![], "a0");
        push(&mut merge, 0, 1, 20, vec![], "a1");
        assert_eq!(drain(&mut merge), ["a0", "a1"], "its own time does not let it through");
        push(&mut merge, 1, 0, 30, vec![], "b0");
        push(&mut merge, 1, 1, 40, vec![], "b1");
        assert_eq!(drain(&mut merge), ["b0", "mark", "next mark", "b1"], "through as soon as it may");
    }

    #[test]
    fn a_mark_is_not_held_by_what_was_never_there() {
        let check = |lane: (i64, i64), ended: bool, expect: &[&str]| {
            let mut merge = Merge::new([lane, (0, 0)]);
            push(&mut merge, 1, 0, 5, vec![(0, 7)], "mark");
            if ended {
                merge.reached_end(0);
            }
            assert_eq!(drain(&mut merge), expect);
        };
        check((8, 8), false, &["mark"]);
        check((7, 7), false, &[]);
        check((3, 8), false, &[]);
        check((3, 8), true, &["mark"]);
        check((3, 7), true, &[]);
    }

    #[test]
    fn a_lane_asks_for_no_more_than_it_has_room_for() {
        let mut merge = Merge::new([(0, 1_000), (0, 1)]);
        let mut taken = 0;
        while merge.has_room(0) {
            push(&mut merge, 0, taken, 1, vec![], ());
            taken += 1;
        }
        assert_eq!((taken, merge.read(0)), (LANE_ROOM as i64, LANE_ROOM as i64));
        merge.reached_end(1);
        assert!(merge.pop().is_some());
        assert!(merge.has_room(0));

        let mut merge = Merge::new([(0, 1_000)]);
        merge.push(0, In { offset: 0, time: 1, gates: vec![], weight: LANE_BYTES, item: () });
        assert!(!merge.has_room(0));
        assert!(merge.pop().is_some());
        assert!(merge.has_room(0));
    }

    /// Times of the records of three topics, and an order in which they are read.
    fn logs() -> impl Strategy<Value = (Vec<Vec<u64>>, Vec<usize>)> {
        let log = proptest::collection::vec(0u64..50, 0..12);
        (proptest::collection::vec(log, 3), proptest::collection::vec(0usize..3, 0..80))
    }

    proptest! {
        /// A replay repeats the order, however the topics' fetches interleave.
        #[test]
        fn the_order_of_a_replay_does_not_depend_on_the_order_of_reading((logs, reading) in logs()) {
            let mut expect = Vec::new();
            for (lane, log) in logs.iter().enumerate() {
                let mut time = 0;
                for (offset, at) in log.iter().enumerate() {
                    time = time.max(*at);
                    expect.push((time, lane, offset as i64));
                }
            }
            expect.sort();

            let mut merge = Merge::new(logs.iter().map(|log| (0, log.len() as i64)));
            let mut got = Vec::new();
            let finish = (0..3).flat_map(|lane| std::iter::repeat_n(lane, 12));
            for lane in reading.into_iter().chain(finish) {
                let offset = merge.read(lane);
                if let Some(at) = logs[lane].get(offset as usize) {
                    push(&mut merge, lane, offset, *at, vec![], ());
                }
                got.extend(std::iter::from_fn(|| merge.pop()).map(|out| (out.lane, out.offset)));
            }
            let expect: Vec<_> = expect.into_iter().map(|(_, lane, offset)| (lane, offset)).collect();
            prop_assert_eq!(got, expect);
        }

        /// Nothing is lost or reordered within a topic, and no mark overtakes what it waits for.
        #[test]
        fn marks_come_behind_what_they_wait_for((mut logs, reading) in logs(), gates in proptest::collection::vec((0usize..2, 0i64..12), 12)) {
            let marks = logs.pop().expect("three logs");
            let gates: Vec<Gate> = marks.iter().zip(gates).map(|(_, (lane, offset))| (lane, offset.min(logs[lane].len() as i64 - 1))).collect();
            logs.push(marks);
            let mut merge = Merge::new(logs.iter().map(|log| (0, log.len() as i64 / 2)));
            let mut out = [0i64; 3];
            let finish = (0..3).flat_map(|lane| std::iter::repeat_n(lane, 12));
            for lane in reading.into_iter().chain(finish) {
                let offset = merge.read(lane);
                if let Some(at) = logs[lane].get(offset as usize) {
                    let gate = if lane == 2 { vec![gates[offset as usize]] } else { vec![] };
                    push(&mut merge, lane, offset, *at, gate, ());
                }
                while let Some(next) = merge.pop() {
                    prop_assert_eq!(next.offset, out[next.lane]);
                    out[next.lane] += 1;
                    if next.lane == 2 {
                        let (lane, offset) = gates[next.offset as usize];
                        prop_assert!(out[lane] > offset);
                    }
                }
            }
            prop_assert_eq!(out.map(|n| n as usize).to_vec(), logs.iter().map(Vec::len).collect::<Vec<_>>());
        }
    }
}
