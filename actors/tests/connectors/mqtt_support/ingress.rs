//! A source that devices' messages come from, driven by hand, as the engine drives it.

use std::time::Duration;

use telemill_engine::record::{Kind, Record};
use telemill_engine::source::{Acker, ResumeAt, Source, SourceBatch, SourceError, SourceEvent, SourceReader};
use tokio::time::Instant;

use super::{SOON, soon};

/// Both halves of a built ingress.
pub struct Ingress<S: Source> {
    pub reader: S::Reader,
    pub acker: S::Acker,
}

impl<S: Source> Ingress<S> {
    /// Grants the source its partition, as the engine does.
    pub async fn begin(source: S) -> Self {
        let (mut reader, acker) = source.split();
        match reader.next(1).await.unwrap() {
            SourceEvent::Assigned { partitions, reply } => {
                assert_eq!(partitions, [0]);
                reply.send(vec![(0, ResumeAt::Committed)]).unwrap();
            }
            other => panic!("{other:?} before the partition was assigned"),
        }
        // The answer is taken at the next question.
        assert!(futures_util::poll!(std::pin::pin!(reader.next(1))).is_pending());
        Ingress { reader, acker }
    }

    /// Reads, and finds nothing, until it takes what is sent to it.
    pub async fn serving(&mut self) {
        let serving = self.reader.serving();
        tokio::select! {
            biased;
            () = soon("the source to serve", serving) => {}
            event = self.reader_next() => panic!("{event:?} while there is nothing to read"),
        }
    }

    /// The next event.
    pub async fn event(&mut self, max_records: usize) -> Result<SourceEvent, SourceError> {
        soon("something to read", self.reader.next(max_records)).await
    }

    /// The next batch, marks included.
    pub async fn batch(&mut self, max_records: usize) -> SourceBatch {
        match self.event(max_records).await.unwrap() {
            SourceEvent::Batch(batch) => batch,
            other => panic!("{other:?} instead of a batch"),
        }
    }

    /// What comes next, for as long as the test likes to wait.
    pub async fn reader_next(&mut self) -> Result<SourceEvent, SourceError> {
        self.reader.next(1000).await
    }

    /// Reads, and finds nothing, until something is so.
    pub async fn idle_until(&mut self, condition: impl Fn() -> bool) {
        let so = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::select! {
            biased;
            () = soon("a condition", so) => {}
            event = self.reader_next() => panic!("{event:?} while there is nothing to read"),
        }
    }

    /// The records of one batch, without marks.
    pub async fn take_up_to(&mut self, count: usize) -> (Vec<Record>, u64) {
        let batch = self.batch(count).await;
        assert!(batch.rejected.is_empty(), "{:?}", batch.rejected);
        (batch.records.into_iter().filter(|record| record.kind != Kind::Mark).collect(), batch.tag)
    }

    /// Reads `count` records and no more, without marks; also the tag of the last batch.
    pub async fn take(&mut self, count: usize) -> (Vec<Record>, u64) {
        let (mut records, mut last) = (Vec::new(), 0);
        // Marks go on when nothing else comes, so it is all of it that must come soon.
        let deadline = Instant::now() + SOON;
        while records.len() < count {
            assert!(Instant::now() < deadline, "{} records of {count} came", records.len());
            let (more, tag) = self.take_up_to(count - records.len()).await;
            records.extend(more);
            last = tag;
        }
        (records, last)
    }

    pub async fn acknowledge(&mut self, tag: u64) {
        self.acker.acknowledge(vec![(0, tag)]).await.unwrap();
    }

    /// The next record comes from this payload: whatever the broker had before it was not produced.
    pub async fn expect_next(&mut self, payload: &str) {
        let (records, tag) = self.take(1).await;
        assert_eq!(String::from_utf8_lossy(&records[0].payload), payload);
        self.acknowledge(tag).await;
    }

    /// Ends it as the engine does when the topology stops.
    pub async fn close(mut self) {
        soon("the end", self.acker.close()).await.unwrap();
        assert!(matches!(self.event(1).await, Ok(SourceEvent::End)));
    }

    /// Ends it as a crash does.
    pub async fn crash(self) {
        drop(self);
        // The aborted task lets go of its socket at its next turn.
        tokio::task::yield_now().await;
    }
}
