//! A source driven by hand, as the engine drives it.

use std::time::Duration;

use telemill_actors::kafka_source::{KafkaAcker, KafkaReader};
use telemill_engine::position::{Cursor, Partition, TopicId, TopicOffset};
use telemill_engine::record::Record;
use telemill_engine::source::{Acker, ResumeAt, SourceBatch, SourceError, SourceEvent, SourceReader};

use super::fixture::DEADLINE;

/// A cursor.
pub(super) fn cursor(entries: &[(TopicId, i64)]) -> Cursor {
    Cursor(entries.iter().map(|(topic, offset)| TopicOffset { topic: *topic, offset: *offset }).collect())
}

/// A source, driven as the engine would.
pub(super) struct Driven {
    pub(super) reader: KafkaReader,
    pub(super) acker: KafkaAcker,
}

impl Driven {
    /// What comes next.
    pub(super) async fn next(&mut self, max_records: usize) -> Result<SourceEvent, SourceError> {
        self.next_within(DEADLINE, max_records).await
    }

    async fn next_within(&mut self, time: Duration, max_records: usize) -> Result<SourceEvent, SourceError> {
        tokio::time::timeout(time, self.reader.next(max_records)).await.expect("nothing came in time")
    }

    /// What comes next when it comes within a while, and is no failure.
    pub(super) async fn within(&mut self, time: Duration) -> Option<SourceEvent> {
        tokio::time::timeout(time, self.reader.next(1000)).await.ok().map(|event| event.unwrap())
    }

    /// Waits for the assignment and says where every partition begins.
    pub(super) async fn assigned(&mut self, resume_at: ResumeAt) -> Vec<Partition> {
        match self.next(1).await.unwrap() {
            SourceEvent::Assigned { partitions, reply } => {
                reply.send(partitions.iter().map(|p| (*p, resume_at.clone())).collect()).unwrap();
                partitions
            }
            other => panic!("expected an assignment, not {other:?}"),
        }
    }

    /// The next batch.
    pub(super) async fn batch(&mut self, max_records: usize) -> SourceBatch {
        match self.next(max_records).await.unwrap() {
            SourceEvent::Batch(batch) => batch,
            other => panic!("expected a batch, not {other:?}"),
        }
    }

    /// Batches with, in all, this many records.
    pub(super) async fn records(&mut self, count: usize) -> Vec<Record> {
        let mut records = Vec::new();
        while records.len() < count {
            let batch = self.batch(count - records.len()).await;
            assert!(batch.rejected.is_empty());
            records.extend(batch.records);
        }
        records
    }

    /// The failure that ends the source.
    pub(super) async fn failure(&mut self) -> SourceError {
        self.failure_within(DEADLINE).await
    }

    /// The failure that ends the source, with so long from one event to the next.
    pub(super) async fn failure_within(&mut self, time: Duration) -> SourceError {
        loop {
            match self.next_within(time, 1000).await {
                Ok(SourceEvent::Batch(_)) => {}
                Ok(other) => panic!("expected a failure, not {other:?}"),
                Err(error) => return error,
            }
        }
    }

    pub(super) async fn acknowledge(&mut self, batch: &SourceBatch) {
        self.acker.acknowledge(vec![(batch.partition, batch.tag)]).await.unwrap();
    }

    pub(super) async fn close(mut self) {
        self.acker.close().await.unwrap();
        assert!(matches!(self.reader.next(1).await, Ok(SourceEvent::End)));
    }
}

/// The number in the payload that [`Fixture::produce`] writes.
pub(super) fn number(record: &Record) -> u64 {
    serde_json::from_slice::<serde_json::Value>(&record.payload).unwrap()["n"].as_u64().unwrap()
}

/// The numbers of records.
pub(super) fn numbers(records: &[Record]) -> Vec<u64> {
    records.iter().map(number).collect()
}

/// The offset of a record.
pub(super) fn offset(record: &Record) -> i64 {
    record.position.unwrap().offset
}
