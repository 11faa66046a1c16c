//! What a Kafka sink has durably taken from an MQTT session, and which dead letters it has: read from the ends of its
//! topics.

use std::time::Duration;

use async_trait::async_trait;
use rdkafka::message::Message;
use telemill_engine::ports::{GivenUp, LetterEnds, Letters, PortError, Recall, Taken};
use ulid::Ulid;

use super::connection::KafkaConnection;
use super::headers::headers_of;
use super::producer::ProducerView;
use super::reader::{Range, ReadError, Reader, with_reader};
use super::topics::EnsuredTopic;
use crate::log::tail::{Tail, behind};

/// How long the sink may take to have everything reported that it was given before.
const SETTLING: Duration = Duration::from_secs(15);
/// How long Kafka may give nothing while there is something left to read.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long all of it may take: large letters are gigabytes.
const READING: Duration = Duration::from_secs(3600);

/// The ends of a sink's topics.
pub(crate) struct Tails {
    connection: KafkaConnection,
    stage: String,
    topics: Vec<EnsuredTopic>,
    producer: ProducerView,
}

impl Tails {
    pub(crate) fn new(
        connection: &KafkaConnection,
        stage: &str,
        topics: &[EnsuredTopic],
        producer: ProducerView,
    ) -> Tails {
        Tails { connection: connection.clone(), stage: stage.to_owned(), topics: topics.to_vec(), producer }
    }

    /// Runs `work` with a reader, once everything that the sink was given before is reported.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Reader, &[EnsuredTopic]) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, PortError> {
        if !self.producer.settled(SETTLING).await {
            return Err(PortError(format!("`{}` has not settled what it was given before", self.stage)));
        }
        let topics = self.topics.clone();
        with_reader(&self.connection, &self.stage, READING, move |reader| work(reader, &topics)).await
    }
}

#[async_trait]
impl Recall for Tails {
    async fn recall(&self, slot: u16, slot_session: Ulid, limit: usize) -> Result<Vec<Taken>, PortError> {
        let found = self.read(move |reader, topics| {
            let partitions = |topic: usize| (0..topics[topic].partitions).map(move |partition| (topic, partition));
            let places: Vec<(usize, i32)> = (0..topics.len()).flat_map(partitions).collect();
            let bounds = places.iter().map(|(topic, partition)| reader.bounds(&topics[*topic].name, *partition));
            let mut tail = Tail::new(limit, bounds.collect::<Result<Vec<_>, _>>()?);
            loop {
                let next = tail.next();
                if next.is_empty() {
                    return Ok(tail.into_newest());
                }
                for (index, topic) in topics.iter().enumerate() {
                    let of_topic = next.iter().filter(|(place, _)| places[*place].0 == index);
                    let range = |(place, range): &(usize, std::ops::Range<i64>)| Range {
                        partition: places[*place].1,
                        from: range.start,
                        end: range.end,
                    };
                    let ranges: Vec<Range> = of_topic.map(range).collect();
                    reader.read(&topic.name, &ranges, PATIENCE, |message| {
                        let taken = headers_of(message).taken();
                        let taken = taken.filter(|taken| taken.origin.is_of(slot, slot_session));
                        let place = places.iter().position(|place| *place == (index, message.partition()));
                        if let Some((place, taken)) = place.zip(taken) {
                            tail.found(place, taken);
                        }
                    })?;
                }
            }
        });
        found.await
    }
}

#[async_trait]
impl Letters for Tails {
    async fn given_up(
        &self,
        topology: &str,
        read: &LetterEnds,
        limit: usize,
    ) -> Result<(Vec<GivenUp>, LetterEnds), PortError> {
        let (topology, read) = (topology.to_owned(), read.clone());
        let found = self.read(move |reader, topics| {
            let mut found = Vec::new();
            // Letters have one topic.
            let Some(topic) = topics.first() else { return Ok((found, read)) };
            let range = |partition| {
                let bounds = reader.bounds(&topic.name, partition)?;
                let from = behind(&read, partition, bounds, limit / topic.partitions.max(1) as usize);
                Ok(Range { partition, from, end: bounds.1 })
            };
            let ranges: Vec<Range> = (0..topic.partitions).map(range).collect::<Result<_, ReadError>>()?;
            reader.read(&topic.name, &ranges, PATIENCE, |message| {
                found.extend(headers_of(message).given_up_in(&topology));
            })?;
            Ok((found, ranges.iter().map(|range| range.end).collect()))
        });
        found.await
    }
}
