//! A router's topic as the journal of the keyed stage that feeds it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::producer::Producer as _;
use telemill_engine::ports::{Journal, PortError};
use telemill_engine::position::Partition;
use telemill_engine::record::Record;

use crate::kafka::client::off_runtime;
use crate::kafka::connection::{KafkaConnection, REQUEST_TIMEOUT};
use crate::kafka::producer::ProducerView;
use crate::kafka::reader::{Range, with_reader};
use crate::kafka::reports::Client;
use crate::kafka::topics::EnsuredTopic;
use crate::kafka::wire::record_from_message;

const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct KafkaJournal {
    connection: KafkaConnection,
    stage: Arc<str>,
    topic: EnsuredTopic,
    producer: ProducerView,
}

impl KafkaJournal {
    pub(super) fn new(
        connection: &KafkaConnection,
        stage: &Arc<str>,
        topic: &EnsuredTopic,
        producer: ProducerView,
    ) -> Self {
        KafkaJournal { connection: connection.clone(), stage: stage.clone(), topic: topic.clone(), producer }
    }

    /// The first offset retained and the one behind the last, asked through the producer's own connection.
    async fn bounds(&self, partition: Partition) -> Result<(i64, i64), PortError> {
        if !(0..self.topic.partitions).contains(&partition) {
            return Err(PortError(format!(
                "journal topic `{}` has {} partitions, but partition {partition} is asked for; give it as many as the \
                 source's topics",
                self.topic.name, self.topic.partitions
            )));
        }
        let gone = || PortError(format!("stage `{}` is being rebuilt", self.stage));
        let client: Arc<Client> = self.producer.client().ok_or_else(gone)?;
        let topic = self.topic.name.clone();
        let asked = off_runtime(REQUEST_TIMEOUT * 2, move |result| {
            let bounds = client.client().fetch_watermarks(&topic, partition, REQUEST_TIMEOUT);
            let _ = result.send(bounds);
        });
        let failed = |why: String| PortError(format!("asking for the end of `{}`: {why}", self.topic.name));
        let bounds = asked.await.map_err(|late| failed(late.to_string()))?;
        bounds.map_err(|error| failed(error.to_string()))
    }
}

#[async_trait]
impl Journal for KafkaJournal {
    async fn end(&self, partition: Partition) -> Result<i64, PortError> {
        self.bounds(partition).await.map(|(_, end)| end)
    }

    /// What is no longer retained is left out, and so is what others wrote that is no record.
    async fn read(&self, partition: Partition, from: i64) -> Result<Vec<Record>, PortError> {
        let (low, end) = self.bounds(partition).await?;
        let range = Range { partition, from: from.max(low), end };
        if range.from >= range.end {
            return Ok(Vec::new());
        }
        let (topic, stage) = (self.topic.clone(), self.stage.clone());
        with_reader(&self.connection, &self.stage, PATIENCE * 2, move |reader| {
            let mut records = Vec::new();
            reader.read(&topic.name, &[range], PATIENCE, |message| {
                match record_from_message(message, topic.id, &stage).record {
                    Ok(record) => records.push(record),
                    Err(rejected) => {
                        let place = String::from_utf8_lossy(&rejected.why.source).into_owned();
                        let detail = &rejected.why.detail;
                        tracing::warn!(code = "journal_foreign", %stage, place, %detail, "left out of the journal");
                    }
                }
            })?;
            Ok(records)
        })
        .await
    }
}
