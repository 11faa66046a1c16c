//! What one life of a producer leaves to the next.
//!
//! When a sink is rebuilt, the engine submits again what it has no answer for. Some of that may be in the log already:
//! delivered and not reported, or reported to a batch that was not complete. The next life therefore waits until nothing
//! of the last one can arrive any more, reads the log from where the last one's barrier stood, and leaves out what it
//! finds there, record by record (`event-id`). So a rebuild neither loses nor doubles nor reorders.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::message::Message;
use telemill_engine::clock::Timestamp;
use telemill_engine::position::TopicId;
use telemill_engine::record::EventId;
use telemill_engine::stage::BuildError;

use super::connection::KafkaConnection;
use super::headers::headers_of;
use super::ledger::Offsets;
use super::producer::ProducerView;
use super::reader::{Range, ReadError, Reader, with_reader};
use super::submit::WINDOW;
use super::topics::EnsuredTopic;

/// The lives of one sink; kept with its checked form, which outlives them.
#[derive(Default)]
pub(crate) struct Lives(Mutex<Option<Life>>);

#[derive(Clone)]
struct Life {
    producer: ProducerView,
    topics: Vec<TopicId>,
    began: Timestamp,
    /// The life before it had left something, and this one may have ended before it looked any of it up.
    inherited: bool,
}

/// How far clocks may differ where the log stamps its records itself.
const SKEW: Duration = Duration::from_secs(60);
const CLOSING: Duration = Duration::from_secs(15);
const PATIENCE: Duration = Duration::from_secs(30);

impl Lives {
    /// A producer of these topics lives, with what the one before it had written.
    pub(crate) fn begin(&self, producer: ProducerView, topics: &[EnsuredTopic], began: Timestamp, earlier: &Earlier) {
        let topics = topics.iter().map(|topic| topic.id).collect();
        let inherited = earlier.count > 0;
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let began = last.as_ref().filter(|_| inherited).map_or(began, |last| last.began);
        *last = Some(Life { producer, topics, began, inherited });
    }

    /// What the last life had written without an answer, and the offsets that its barrier had passed.
    pub(crate) async fn last(
        &self,
        connection: &KafkaConnection,
        stage: &str,
        topics: &[EnsuredTopic],
    ) -> Result<(Earlier, Offsets), BuildError> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(Life { producer, topics: written, began, inherited }) = last else { return Ok(Default::default()) };
        if !producer.settled(CLOSING).await {
            return Err(BuildError::Unavailable("the last producer of this stage is still closing".to_owned()));
        }
        if !topics.iter().map(|topic| topic.id).eq(written) {
            // A topic was deleted and made again meanwhile; nothing that was written stands there.
            return Ok(Default::default());
        }
        let (passed, offsets) = {
            let ledger = producer.ledger();
            if !ledger.left_something() && !inherited {
                return Ok((Earlier::default(), ledger.passed_offsets().clone()));
            }
            let partitions = |topic: usize, count| (0..count).map(move |partition| (topic, partition));
            let places = topics.iter().enumerate().flat_map(|(topic, t)| partitions(topic, t.partitions));
            let passed = places.filter_map(|(topic, p)| Some(((topic, p), ledger.passed(topic, p)?)));
            (passed.collect::<HashMap<_, _>>(), ledger.passed_offsets().clone())
        };
        let topics = topics.to_vec();
        let found = with_reader(connection, stage, PATIENCE * 2, move |reader| {
            let mut earlier = Earlier { batches_left: 2 * WINDOW, ..Earlier::default() };
            for (index, topic) in topics.iter().enumerate() {
                let passed = |partition| passed.get(&(index, partition)).copied();
                let ranges = ranges(reader, topic, passed, began - SKEW)?;
                reader.read(&topic.name, &ranges, PATIENCE, |message| {
                    if let Some(id) = headers_of(message).event_id() {
                        earlier.add(index, id, message.partition(), message.offset());
                    }
                })?;
            }
            Ok(earlier)
        });
        let found = found.await.map_err(|error| BuildError::Unavailable(error.to_string()))?;
        tracing::info!(code = "producer_rebuilt", stage, found = found.count, "read back what was written unreported");
        Ok((found, offsets))
    }
}

fn ranges(
    reader: &Reader,
    topic: &EnsuredTopic,
    passed: impl Fn(i32) -> Option<i64>,
    began: Timestamp,
) -> Result<Vec<Range>, ReadError> {
    let mut at_begin = None;
    let mut ranges = Vec::new();
    for partition in 0..topic.partitions {
        let (_, end) = reader.bounds(&topic.name, partition)?;
        let from = match passed(partition) {
            Some(offset) => offset + 1,
            None => {
                if at_begin.is_none() {
                    at_begin = Some(reader.offsets_at(&topic.name, topic.partitions, began)?);
                }
                at_begin.as_ref().map_or(end, |offsets| offsets[partition as usize])
            }
        };
        ranges.push(Range { partition, from, end });
    }
    Ok(ranges)
}

/// Records that an earlier life has written, by topic and identity, each with the places where it stands.
#[derive(Debug, Default)]
pub(crate) struct Earlier {
    places: HashMap<(usize, EventId), VecDeque<(i32, i64)>>,
    count: usize,
    batches_left: usize,
}

impl Earlier {
    fn add(&mut self, topic: usize, id: EventId, partition: i32, offset: i64) {
        self.places.entry((topic, id)).or_default().push_back((partition, offset));
        self.count += 1;
    }

    /// A batch is submitted. What the engine submits again comes first; after it nothing is looked up any more, because
    /// a record may well be written again later, on purpose.
    pub(crate) fn batch_begins(&mut self) {
        match self.batches_left.checked_sub(1) {
            Some(left) => self.batches_left = left,
            None => *self = Earlier::default(),
        }
    }

    /// Where this record stands already; each place is given once.
    pub(crate) fn take(&mut self, topic: usize, id: EventId) -> Option<(i32, i64)> {
        if self.places.is_empty() {
            return None;
        }
        self.places.get_mut(&(topic, id))?.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ulid::Ulid;

    #[test]
    fn each_place_is_given_once_and_only_to_what_comes_again() {
        let id = EventId(Ulid::from_parts(1, 1));
        let mut earlier = Earlier { batches_left: 1, ..Earlier::default() };
        earlier.add(0, id, 3, 41);
        earlier.add(0, id, 3, 42);
        earlier.batch_begins();
        assert_eq!(earlier.take(1, id), None);
        assert_eq!(earlier.take(0, id), Some((3, 41)));
        earlier.batch_begins();
        assert_eq!(earlier.take(0, id), None, "what comes later is written again");
    }
}
