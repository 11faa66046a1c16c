//! What was read and not yet asked for.
//!
//! Between the thread that reads and the engine that asks there is a shelf for each partition that is ours. The
//! guarantee: the shelves together hold a bounded number of records and bytes; partitions take turns; records of an
//! assignment that has ended are never given out; and what happened to the assignment is told before anything else.

use std::collections::{BTreeMap, VecDeque};

use telemill_engine::batch::Previous;
use telemill_engine::position::{Partition, TopicId};
use telemill_engine::record::Record;
use telemill_engine::source::{RejectedRecord, ResumeAt, SourceEvent};
use tokio::sync::oneshot;

use super::ledger::Generation;
use super::reading::Body;

/// A message as it came from the log.
#[derive(Debug)]
pub(crate) struct Item {
    /// The index of its topic.
    pub(crate) topic: usize,
    pub(crate) offset: i64,
    /// The bytes that count against the room.
    pub(crate) weight: usize,
    pub(crate) body: Body,
}

/// Items of one partition on their way out.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) partition: Partition,
    pub(crate) records: Vec<Record>,
    pub(crate) rejected: Vec<RejectedRecord>,
    pub(crate) previous: Previous,
    /// The last offset of each topic in it.
    pub(crate) last: Vec<(usize, i64)>,
}

/// What waits to be asked for.
#[derive(Debug)]
pub(crate) struct Outbox {
    topics: Vec<TopicId>,
    max_records: usize,
    max_bytes: usize,
    records: usize,
    bytes: usize,
    events: VecDeque<SourceEvent>,
    shelves: BTreeMap<Partition, Shelf>,
    /// The partition that had the last turn.
    turn: Partition,
}

#[derive(Debug)]
struct Shelf {
    generation: Generation,
    items: VecDeque<Item>,
    /// The last record given out of each topic. What is rejected goes to the dead letters by another way: nobody
    /// downstream sees it, and nobody may miss it there.
    given: Vec<Option<i64>>,
}

impl Outbox {
    /// Empty shelves for records of these topics.
    pub(crate) fn new(topics: Vec<TopicId>, max_records: usize, max_bytes: usize) -> Self {
        Outbox {
            topics,
            max_records,
            max_bytes,
            records: 0,
            bytes: 0,
            events: VecDeque::new(),
            shelves: BTreeMap::new(),
            turn: Partition::MIN,
        }
    }

    /// Opens a shelf for an assignment; one that the partition had is cleared away.
    pub(crate) fn open(&mut self, partition: Partition, generation: Generation) {
        self.clear(partition);
        let given = vec![None; self.topics.len()];
        self.shelves.insert(partition, Shelf { generation, items: VecDeque::new(), given });
    }

    /// Clears a partition's shelf away.
    pub(crate) fn clear(&mut self, partition: Partition) {
        if let Some(shelf) = self.shelves.remove(&partition) {
            self.records -= shelf.items.len();
            self.bytes -= shelf.items.iter().map(|item| item.weight).sum::<usize>();
        }
    }

    /// Records and bytes that may be put in. An item larger than all room still fits alone.
    pub(crate) fn room(&self) -> (usize, usize) {
        match (self.max_records.saturating_sub(self.records), self.max_bytes.saturating_sub(self.bytes)) {
            (0, _) | (_, 0) => (0, 0),
            room => room,
        }
    }

    /// Puts an item on its partition's shelf; false when the assignment is over.
    pub(crate) fn put(&mut self, partition: Partition, generation: Generation, item: Item) -> bool {
        match self.shelves.get_mut(&partition).filter(|shelf| shelf.generation == generation) {
            Some(shelf) => {
                self.records += 1;
                self.bytes += item.weight;
                shelf.items.push_back(item);
                true
            }
            None => false,
        }
    }

    /// Tells that partitions were gained. The reply arrives on what is returned.
    pub(crate) fn tell_assigned(
        &mut self,
        partitions: Vec<Partition>,
    ) -> oneshot::Receiver<Vec<(Partition, ResumeAt)>> {
        self.forget_untold(&partitions);
        let (reply, replied) = oneshot::channel();
        self.events.push_back(SourceEvent::Assigned { partitions, reply });
        replied
    }

    /// Tells that partitions are about to be given up, unless it was not even told that they were gained: then there is
    /// nothing to wait for.
    #[cfg(any(test, feature = "kafka"))]
    pub(crate) fn tell_revoked(&mut self, partitions: &[Partition]) -> Option<oneshot::Receiver<()>> {
        let untold = self.forget_untold(partitions);
        let told: Vec<_> = partitions.iter().copied().filter(|partition| !untold.contains(partition)).collect();
        if told.is_empty() {
            return None;
        }
        let (done, is_done) = oneshot::channel();
        self.events.push_back(SourceEvent::Revoked { partitions: told, done });
        Some(is_done)
    }

    /// Takes partitions out of what was not told yet, so that what waits to be told stays bounded.
    fn forget_untold(&mut self, partitions: &[Partition]) -> Vec<Partition> {
        let mut untold = Vec::new();
        self.events.retain_mut(|event| match event {
            SourceEvent::Assigned { partitions: gained, .. } => {
                untold.extend(gained.extract_if(.., |partition| partitions.contains(partition)));
                !gained.is_empty()
            }
            _ => true,
        });
        untold
    }

    /// The next thing to tell, if any.
    pub(crate) fn event(&mut self) -> Option<SourceEvent> {
        self.events.pop_front()
    }

    /// What is there of the partition whose turn it is, up to `max_records`.
    pub(crate) fn take(&mut self, max_records: usize) -> Option<Taken> {
        let filled = |(at, shelf): (&Partition, &Shelf)| (!shelf.items.is_empty()).then_some(*at);
        let later = self.shelves.range((std::ops::Bound::Excluded(self.turn), std::ops::Bound::Unbounded));
        let partition = later.filter_map(filled).next().or_else(|| self.shelves.iter().find_map(filled))?;
        self.turn = partition;

        let shelf = self.shelves.get_mut(&partition)?;
        let count = shelf.items.len().min(max_records.max(1));
        let (mut records, mut rejected) = (Vec::with_capacity(count), Vec::new());
        let mut previous = Previous::new();
        let mut chained: Vec<usize> = Vec::new();
        let mut last: Vec<(usize, i64)> = Vec::new();
        for Item { topic, offset, weight, body } in shelf.items.drain(..count) {
            self.bytes -= weight;
            match last.iter_mut().find(|(known, _)| *known == topic) {
                Some((_, known)) => *known = offset,
                None => last.push((topic, offset)),
            }
            match body {
                Ok(record) => {
                    let before = shelf.given[topic].replace(offset);
                    if !chained.contains(&topic) {
                        chained.push(topic);
                        previous.extend(before.map(|before| (self.topics[topic], before, 0)));
                    }
                    records.push(record);
                }
                Err(unfit) => rejected.push(*unfit),
            }
        }
        self.records -= count;
        Some(Taken { partition, records, rejected, previous, last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use telemill_engine::clock::Timestamp;
    use telemill_engine::record::{DeadReason, EventId, Kind, Reason};
    use ulid::Ulid;
    use uuid::Uuid;

    fn item(topic: usize, offset: i64) -> Item {
        let device = "d1".parse().unwrap();
        let record = Record::new(EventId(Ulid::nil()), device, Kind::Data, Bytes::from_static(b"{}"), Timestamp(0));
        Item { topic, offset, weight: record.weight(), body: Ok(record) }
    }

    fn unfit(topic: usize, offset: i64) -> Item {
        let Item { weight, body, .. } = item(topic, offset);
        let why = DeadReason {
            reason: Reason::BAD_ENVELOPE,
            detail: "".into(),
            stage: "".into(),
            attempts: 1,
            source: Bytes::new(),
        };
        Item { topic, offset, weight, body: Err(Box::new(RejectedRecord { record: body.unwrap(), why })) }
    }

    fn id(topic: usize) -> TopicId {
        TopicId(Uuid::from_u128(topic as u128))
    }

    fn outbox(max_records: usize, max_bytes: usize) -> Outbox {
        Outbox::new(vec![id(0), id(1)], max_records, max_bytes)
    }

    #[test]
    fn partitions_take_turns_and_batches_name_what_came_before() {
        let mut outbox = outbox(100, 100_000);
        for partition in [0, 1] {
            outbox.open(partition, 1);
            for offset in 5..8 {
                assert!(outbox.put(partition, 1, item(0, offset)));
            }
            assert!(outbox.put(partition, 1, item(1, 2)));
        }
        let mut take = || {
            let taken = outbox.take(2).unwrap();
            (taken.partition, taken.records.len(), taken.last, taken.previous.to_vec())
        };
        assert_eq!(take(), (0, 2, vec![(0, 6)], vec![]), "the first since the assignment has none");
        assert_eq!(take(), (1, 2, vec![(0, 6)], vec![]));
        assert_eq!(take(), (0, 2, vec![(0, 7), (1, 2)], vec![(id(0), 6, 0)]));
        assert_eq!(take(), (1, 2, vec![(0, 7), (1, 2)], vec![(id(0), 6, 0)]));
        assert!(outbox.take(2).is_none());
    }

    #[test]
    fn what_is_rejected_is_no_link_of_the_chain() {
        let mut outbox = outbox(100, 100_000);
        outbox.open(0, 1);
        for offset in 0..4 {
            outbox.put(0, 1, if offset % 2 == 0 { item(0, offset) } else { unfit(0, offset) });
        }
        let mut take = || {
            let taken = outbox.take(1).unwrap();
            (taken.records.len(), taken.rejected.len(), taken.last, taken.previous.to_vec())
        };
        assert_eq!(take(), (1, 0, vec![(0, 0)], vec![]));
        assert_eq!(take(), (0, 1, vec![(0, 1)], vec![]));
        assert_eq!(take(), (1, 0, vec![(0, 2)], vec![(id(0), 0, 0)]), "not the one that went to the dead letters");
        assert_eq!(take(), (0, 1, vec![(0, 3)], vec![]));
    }

    #[test]
    fn room_is_bounded_in_records_and_in_bytes() {
        let check = |max_records: usize, max_bytes: usize, expect: usize| {
            let mut outbox = outbox(max_records, max_bytes);
            outbox.open(0, 1);
            let mut put = 0;
            while outbox.room() != (0, 0) {
                outbox.put(0, 1, item(0, put));
                put += 1;
            }
            assert_eq!(put as usize, expect);
            outbox.take(usize::MAX);
            assert_eq!((outbox.records, outbox.bytes), (0, 0));
            assert_ne!(outbox.room(), (0, 0));
        };
        let weight = item(0, 0).weight;
        check(3, usize::MAX, 3);
        check(usize::MAX, 3 * weight, 3);
        check(usize::MAX, 1, 1);
    }

    #[test]
    fn what_was_read_for_an_ended_assignment_is_not_given_out() {
        let mut outbox = outbox(100, 100_000);
        outbox.open(0, 1);
        outbox.put(0, 1, item(0, 1));
        outbox.open(0, 2);
        assert!(!outbox.put(0, 1, item(0, 2)));
        assert!(outbox.take(10).is_none());
        assert!(outbox.put(0, 2, item(0, 1)));
        outbox.clear(0);
        assert!(!outbox.put(0, 2, item(0, 2)));
        assert!(outbox.take(10).is_none());
        assert_eq!((outbox.records, outbox.bytes), (0, 0));
    }

    #[test]
    fn what_was_gained_and_lost_unheard_is_not_told() {
        let mut outbox = outbox(100, 100_000);
        let _reply = outbox.tell_assigned(vec![0, 1]);
        let _reply = outbox.tell_assigned(vec![2]);
        assert!(outbox.tell_revoked(&[1, 2]).is_none(), "nobody knows of them");
        assert!(outbox.tell_revoked(&[3]).is_some());
        let told: Vec<_> = std::iter::from_fn(|| outbox.event())
            .map(|event| match event {
                SourceEvent::Assigned { partitions, .. } => (true, partitions),
                SourceEvent::Revoked { partitions, .. } => (false, partitions),
                other => panic!("{other:?} was never told"),
            })
            .collect();
        assert_eq!(told, [(true, vec![0]), (false, vec![3])]);
    }
}
