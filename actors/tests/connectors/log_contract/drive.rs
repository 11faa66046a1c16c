//! A source driven by hand, as the engine drives it.

use telemill_engine::position::Partition;
use telemill_engine::record::{Kind as Word, Record};
use telemill_engine::source::{Acker, ResumeAt, Source, SourceBatch, SourceError, SourceEvent, SourceReader};
use telemill_engine::testing::number_of;

use super::Kind;
use crate::kafka_support::SOON;

pub struct Driven<K: Kind> {
    pub reader: <K::Source as Source>::Reader,
    pub acker: <K::Source as Source>::Acker,
}

impl<K: Kind> Driven<K> {
    pub fn new(source: K::Source) -> Self {
        let (reader, acker) = source.split();
        Driven { reader, acker }
    }

    pub async fn next(&mut self, max_records: usize) -> Result<SourceEvent, SourceError> {
        tokio::time::timeout(SOON, self.reader.next(max_records)).await.expect("nothing came in time")
    }

    /// Waits for the assignment and says where every partition begins.
    pub async fn assigned(&mut self, resume_at: ResumeAt) -> Vec<Partition> {
        match self.next(1).await.unwrap() {
            SourceEvent::Assigned { partitions, reply } => {
                reply.send(partitions.iter().map(|p| (*p, resume_at.clone())).collect()).unwrap();
                partitions
            }
            other => panic!("expected an assignment, not {other:?}"),
        }
    }

    pub async fn batch(&mut self, max_records: usize) -> SourceBatch {
        match self.next(max_records).await.unwrap() {
            SourceEvent::Batch(batch) => batch,
            other => panic!("expected a batch, not {other:?}"),
        }
    }

    /// Batches with, in all, this many records, acknowledged as they come.
    pub async fn records(&mut self, count: usize) -> Vec<Record> {
        let mut records = Vec::new();
        while records.len() < count {
            let batch = self.batch(count - records.len()).await;
            assert!(batch.rejected.is_empty(), "{:?}", batch.rejected);
            self.acknowledge(&batch).await;
            records.extend(batch.records);
        }
        records
    }

    /// The failure that ends the source.
    pub async fn failure(&mut self) -> SourceError {
        loop {
            match self.next(1000).await {
                Ok(SourceEvent::Batch(_)) => {}
                Ok(other) => panic!("expected a failure, not {other:?}"),
                Err(error) => return error,
            }
        }
    }

    pub async fn acknowledge(&mut self, batch: &SourceBatch) {
        self.acker.acknowledge(vec![(batch.partition, batch.tag)]).await.unwrap();
    }

    pub async fn close(mut self) {
        self.acker.close().await.unwrap();
        assert!(matches!(self.next(1).await, Ok(SourceEvent::End)));
    }
}

/// The numbers of records, marks left out.
pub fn numbers(records: &[Record]) -> Vec<u64> {
    records.iter().filter(|record| record.kind != Word::Mark).map(number_of).collect()
}

/// The numbers of the records of one device.
pub fn numbers_of(records: &[Record], device: &str) -> Vec<u64> {
    records.iter().filter(|record| record.device.as_str() == device).map(number_of).collect()
}

pub fn offset(record: &Record) -> i64 {
    record.position.unwrap().offset
}
