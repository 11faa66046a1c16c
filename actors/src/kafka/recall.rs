//! What a Kafka sink has durably taken from an MQTT session: read from the ends of its topics.

use std::time::Duration;

use async_trait::async_trait;
use rdkafka::message::Message;
use telemill_engine::ports::{PortError, Recall, Taken};
use ulid::Ulid;

use super::connection::KafkaConnection;
use super::headers::headers_of;
use super::producer::ProducerView;
use super::reader::{Range, with_reader};
use super::topics::EnsuredTopic;
use crate::log::tail::Tail;

/// How long the sink may take to have everything reported that it was given before.
const SETTLING: Duration = Duration::from_secs(15);
const READING: Duration = Duration::from_secs(30);

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
}

#[async_trait]
impl Recall for Tails {
    async fn recall(&self, slot: u16, slot_session: Ulid, limit: usize) -> Result<Vec<Taken>, PortError> {
        if !self.producer.settled(SETTLING).await {
            return Err(PortError(format!("`{}` has not settled what it was given before", self.stage)));
        }
        let topics = self.topics.clone();
        let found = with_reader(&self.connection, &self.stage, READING * 2, move |reader| {
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
                    reader.read(&topic.name, &ranges, READING, |message| {
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
