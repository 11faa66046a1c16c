//! The dead letters of a simulated world, and which of them an owner must know of.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::ports::{GivenUp, LetterEnds, Letters, PortError};
use crate::position::Epoch;
use crate::record::Record;
use crate::runtime::source_of;
use crate::testing::number_of;

use super::{SimLog, Trouble};

/// The topic of the dead letters; it has one partition.
pub const DEAD: &str = "dead";

/// The dead letters.
pub struct SimLetters {
    log: Arc<SimLog>,
    trouble: Arc<Trouble>,
    /// Where they ended when each owner began to use them.
    began: Mutex<BTreeMap<Epoch, i64>>,
}

impl SimLetters {
    pub(super) fn new(log: &Arc<SimLog>, trouble: &Arc<Trouble>) -> Arc<Self> {
        Arc::new(SimLetters { log: log.clone(), trouble: trouble.clone(), began: Mutex::default() })
    }

    /// An owner begins to use them.
    pub fn begin(&self, epoch: Epoch) {
        self.began().entry(epoch).or_insert_with(|| self.log.end(DEAD, 0));
    }

    /// Appends a letter. An owner that was superseded may still do that: nothing refuses it. One that was there when this
    /// owner began must not come again; one of its own may, where its answer was lost.
    pub fn append(&self, letter: &Record, epoch: Epoch) {
        let stage = letter.dead.as_ref().map(|why| why.stage.clone()).unwrap_or_default();
        let is_of_a_log = !source_of(letter).is_empty();
        let begun = self.begun(epoch).expect("an owner has begun before it gives up anything");
        if is_of_a_log && self.has(&stage, letter, |offset, _| offset < begun) {
            self.trouble.violation(format!("{stage} gave up {} again", number_of(letter)));
        }
        self.log.push(DEAD, 0, letter.clone(), epoch);
    }

    /// Whether a stage had given up a record when this owner began, or has since, by this owner's own hand.
    pub fn had(&self, stage: &str, record: &Record, epoch: Epoch) -> bool {
        // One that never began has its dead letters elsewhere.
        let begun = self.begun(epoch);
        begun.is_some_and(|begun| self.has(stage, record, |offset, writer| offset < begun || writer == epoch))
    }

    fn has(&self, stage: &str, record: &Record, counts: impl Fn(i64, Epoch) -> bool) -> bool {
        let source = source_of(record);
        let letters = self.log.all(DEAD, 0).into_iter().zip(self.log.writers(DEAD, 0));
        let known = letters.filter(|((offset, _), writer)| counts(*offset, *writer));
        let of_record = known.filter(|((_, letter), _)| letter.id == record.id);
        let mut reasons = of_record.filter_map(|((_, letter), _)| letter.dead);
        reasons.any(|why| *why.stage == *stage && why.source == source)
    }

    /// Where they ended when an owner began to use them.
    fn begun(&self, epoch: Epoch) -> Option<i64> {
        self.began().get(&epoch).copied()
    }

    fn began(&self) -> MutexGuard<'_, BTreeMap<Epoch, i64>> {
        self.began.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Letters for SimLetters {
    async fn given_up(
        &self,
        _: &str,
        read: &LetterEnds,
        limit: usize,
    ) -> Result<(Vec<GivenUp>, LetterEnds), PortError> {
        self.trouble.step().await;
        if self.trouble.is_down("log") || self.trouble.fails("letters") {
            return Err(PortError("injected: the dead letters are away".to_owned()));
        }
        let letter = |record: Record| {
            let why = record.dead?;
            Some(GivenUp { id: record.id, stage: why.stage.clone(), source: why.source.clone() })
        };
        let (from, end) = (read.first().copied().unwrap_or(0), self.log.end(DEAD, 0));
        let newest = self.log.all(DEAD, 0).into_iter().rev().take(limit).filter(|(offset, _)| *offset >= from);
        Ok((newest.filter_map(|(_, record)| letter(record)).collect(), vec![end]))
    }
}
