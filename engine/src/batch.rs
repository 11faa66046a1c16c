//! What moves between stages: the records of one partition that were there together, in order.

use crate::ack::Guards;
use crate::position::{Partition, TopicId};
use crate::record::Record;
use smallvec::SmallVec;

/// Records of one partition, in order, with the acknowledgements that hang on them.
#[derive(Debug)]
pub struct Batch {
    /// The source's partition. Records of one device are always of one partition.
    pub partition: Partition,
    /// The records, in the order of the log.
    pub records: Vec<Record>,
    /// For each topic in `records`, what came last before this batch on the way from the source to here. A sink that
    /// keeps positions can tell from it whether something is missing. No entry: this is the first since the partition
    /// was assigned.
    pub previous: Previous,
    /// Resolved when every record is safe.
    pub guards: Guards,
}

/// The last (offset, output) before a batch, by topic.
pub type Previous = SmallVec<[(TopicId, i64, u32); 1]>;

impl Batch {
    /// A batch with nothing known before it.
    pub fn new(partition: Partition, records: Vec<Record>, guards: Guards) -> Self {
        Batch { partition, records, previous: Previous::new(), guards }
    }

    /// The number of records.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are no records; such a batch only carries guards.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The bytes that count against a mailbox's capacity.
    pub fn weight(&self) -> usize {
        self.records.iter().map(Record::weight).sum()
    }

    /// How many of the records, from the first on, weigh no more than `bytes` together, and what they weigh; at least one.
    pub fn fit(&self, bytes: usize) -> (usize, usize) {
        let (mut count, mut weight) = (0, 0);
        for record in &self.records {
            let with_it = weight + record.weight();
            if count > 0 && with_it > bytes {
                break;
            }
            (count, weight) = (count + 1, with_it);
        }
        (count, weight)
    }

    /// What came last before this batch in `topic`.
    pub fn previous_in(&self, topic: TopicId) -> Option<(i64, u32)> {
        self.previous.iter().find(|(t, ..)| *t == topic).map(|(_, offset, output)| (*offset, *output))
    }

    /// Puts `next`, which came right behind this batch in the same partition, at its end.
    pub fn join(&mut self, next: Batch) {
        debug_assert_eq!(self.partition, next.partition, "only batches of one partition can be joined");
        for (topic, offset, output) in next.previous {
            let known = self.previous_in(topic).is_some()
                || self.records.iter().any(|r| r.position.is_some_and(|p| p.topic == topic));
            if !known {
                self.previous.push((topic, offset, output));
            }
        }
        self.records.extend(next.records);
        self.guards.join(next.guards);
    }

    /// Cuts the batch in two: the records from `at` on come back as a batch of their own, chained to those before and
    /// with a share of the same guards.
    pub fn split_off(&mut self, at: usize) -> Batch {
        let rest = self.records.split_off(at);
        let mut previous = self.previous.clone();
        for position in self.records.iter().filter_map(|r| r.position) {
            previous.retain(|(topic, ..)| *topic != position.topic);
            previous.push((position.topic, position.offset, position.output));
        }
        Batch { partition: self.partition, records: rest, previous, guards: self.guards.share() }
    }
}
