//! What was given up before it is read again.
//!
//! The dead letters and a sink's store are two systems. A stage that is killed when its letter is durable, and nothing
//! else says so yet, reads the record again; and what was wrong with it may have been mended meanwhile. So whoever
//! begins to read partitions first reads the newest letters back: what a stage gave up it does not try again.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use crate::ports::{LetterEnds, Letters, PortError};
use crate::position::Position;
use crate::record::{EventId, Record};

/// How many letters are read back at most, and how many are remembered. What matters was written in the last moments of
/// the process before; others may have written there since.
const READ_BACK: usize = 32_767;

/// What stages gave up, as far as their letters were read back.
#[derive(Default)]
pub(super) struct GivenUpBefore {
    known: RwLock<Known>,
    /// The time, in Unix milliseconds, in the newest id among them: records that came later need not be looked for.
    newest: AtomicU64,
}

#[derive(Default)]
struct Known {
    letters: HashSet<u128>,
    /// The same, in the order in which they were read.
    order: VecDeque<u128>,
    /// How far the dead letters were read.
    read: LetterEnds,
}

impl GivenUpBefore {
    /// Reads back what was given up, as far as it was not: of partitions that are about to be read, when everything that
    /// was sent on from them before is resolved.
    pub(super) async fn read_back(&self, letters: &dyn Letters, topology: &str) -> Result<(), PortError> {
        let read = self.known().read.clone();
        let (given_up, read) = letters.given_up(topology, &read, READ_BACK).await?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.read = read;
        for letter in given_up {
            let key = key(letter.id, &letter.stage, &letter.source);
            if known.letters.insert(key) {
                known.order.push_back(key);
            }
            self.newest.fetch_max(letter.id.0.timestamp_ms(), Ordering::AcqRel);
        }
        while known.order.len() > READ_BACK {
            let oldest = known.order.pop_front();
            oldest.map(|oldest| known.letters.remove(&oldest));
        }
        Ok(())
    }

    /// Whether this stage gave this record up: its letter is durable.
    pub(super) fn has(&self, stage: &str, record: &Record) -> bool {
        // The first look is at one number: records ask at every stage.
        record.id.0.timestamp_ms() <= self.newest.load(Ordering::Acquire)
            && self.known().letters.contains(&key(record.id, stage, &source_of(record)))
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What makes two letters letters of the same: 128 bits, so that a chance is none.
fn key(id: EventId, stage: &str, source: &[u8]) -> u128 {
    let mut hash = Xxh3::new();
    hash.update(&id.0.to_bytes());
    hash.update(stage.as_bytes());
    hash.update(&[0]);
    hash.update(source);
    hash.digest128()
}

/// Where a record came from, as its letter says it (`docs/formats.md`, "Headers").
pub(crate) fn source_of(record: &Record) -> Bytes {
    match (&record.dead, record.position) {
        (Some(why), _) => why.source.clone(),
        (None, Some(Position { topic, partition, offset, output: 0 })) => {
            format!("{topic}/{partition}/{offset}").into()
        }
        (None, Some(Position { topic, partition, offset, output })) => {
            format!("{topic}/{partition}/{offset}/{output}").into()
        }
        (None, None) => Bytes::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;

    use super::*;
    use crate::ports::GivenUp;
    use crate::position::TopicId;
    use crate::testing::record;

    /// Letters of one partition.
    #[derive(Default)]
    struct Written(Mutex<Vec<GivenUp>>);

    impl Written {
        fn write(&self, stage: &str, record: &Record) {
            let letter = GivenUp { id: record.id, stage: stage.into(), source: source_of(record) };
            self.0.lock().unwrap().push(letter);
        }
    }

    #[async_trait]
    impl Letters for Written {
        async fn given_up(
            &self,
            topology: &str,
            read: &LetterEnds,
            limit: usize,
        ) -> Result<(Vec<GivenUp>, LetterEnds), PortError> {
            assert_eq!((topology, limit), ("test", READ_BACK));
            let all = self.0.lock().unwrap();
            let from = read.first().map_or(0, |end| *end as usize);
            Ok((all[from..].to_vec(), vec![all.len() as i64]))
        }
    }

    fn at(number: usize, offset: i64, output: u32) -> Record {
        let position = Position { topic: TopicId::default(), partition: 0, offset, output };
        Record { position: Some(position), ..record("d1", number) }
    }

    #[tokio::test]
    async fn a_letter_is_known_by_its_stage_its_record_and_where_that_stood() {
        let (written, before) = (Written::default(), GivenUpBefore::default());
        let (one, made, transition) = (at(1, 7, 0), at(2, 8, 3), record("d1", 4));
        for record in [&one, &made, &transition] {
            written.write("writer", record);
        }
        assert!(!before.has("writer", &one), "not read back");
        before.read_back(&written, "test").await.unwrap();
        assert!(before.has("writer", &one) && before.has("writer", &made) && before.has("writer", &transition));
        assert!(!before.has("other", &one), "another stage may still want it");
        assert!(!before.has("writer", &at(3, 7, 0)), "another record");
        assert!(!before.has("writer", &at(1, 9, 0)), "the same id, given twice by whoever wrote there");
        assert!(!before.has("writer", &at(2, 8, 2)), "another record made of the same one");
    }

    #[tokio::test]
    async fn what_is_known_stays_known_and_is_not_read_again() {
        let (written, before) = (Written::default(), GivenUpBefore::default());
        written.write("writer", &at(1, 7, 0));
        before.read_back(&written, "test").await.unwrap();
        written.write("writer", &at(2, 8, 0));
        assert!(!before.has("writer", &at(2, 8, 0)));
        before.read_back(&written, "test").await.unwrap();
        before.read_back(&written, "test").await.unwrap();
        assert!(before.has("writer", &at(1, 7, 0)) && before.has("writer", &at(2, 8, 0)));
        assert_eq!(before.known().order.len(), 2);
    }

    #[tokio::test]
    async fn the_newest_are_remembered() {
        let (written, before) = (Written::default(), GivenUpBefore::default());
        for part in [0..20_000, 20_000..40_000] {
            part.for_each(|number: usize| written.write("writer", &at(number, number as i64, 0)));
            before.read_back(&written, "test").await.unwrap();
        }
        let known = before.known();
        assert_eq!((known.letters.len(), known.order.len()), (READ_BACK, READ_BACK));
        drop(known);
        assert!(!before.has("writer", &at(0, 0, 0)) && before.has("writer", &at(39_999, 39_999, 0)));
    }
}
