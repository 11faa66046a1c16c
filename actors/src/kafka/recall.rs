//! What a Kafka sink has durably taken from an MQTT session: read from the ends of its topics.

use std::time::Duration;

use async_trait::async_trait;
use telemill_engine::ports::{PortError, Recall};
use telemill_engine::record::Origin;
use ulid::Ulid;

use super::connection::KafkaConnection;
use super::headers::headers_of;
use super::producer::ProducerView;
use super::reader::{Range, with_reader};
use super::topics::EnsuredTopic;

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
    async fn recall(&self, slot: u16, slot_session: Ulid, limit: usize) -> Result<Vec<Origin>, PortError> {
        if !self.producer.settled(SETTLING).await {
            return Err(PortError(format!("`{}` has not settled what it was given before", self.stage)));
        }
        let topics = self.topics.clone();
        let limit_offset = i64::try_from(limit).unwrap_or(i64::MAX);
        let found = with_reader(&self.connection, &self.stage, READING * 2, move |reader| {
            let mut origins = Vec::new();
            for topic in &topics {
                // The last `limit` productions may all lie in one partition, so each is read that far back.
                let range = |partition| {
                    let (low, end) = reader.bounds(&topic.name, partition)?;
                    Ok(Range { partition, from: low.max(end.saturating_sub(limit_offset)), end })
                };
                let ranges = (0..topic.partitions).map(range).collect::<Result<Vec<_>, _>>()?;
                reader.read(&topic.name, &ranges, READING, |message| {
                    let origin = headers_of(message).origin();
                    origins.extend(origin.filter(|o| o.slot == slot && o.slot_session == slot_session));
                })?;
            }
            Ok(origins)
        });
        let mut origins = found.await?;
        origins.sort_unstable_by_key(|origin| std::cmp::Reverse(origin.delivery));
        origins.truncate(limit);
        Ok(origins)
    }
}
