//! Where a topic of a partition is to be read from.
//!
//! Everything that hangs on the source has a say, and the source's own commit: the lowest wins, and one that has
//! nothing is lower than any (`docs/formats.md`, "Where a source begins, and what it commits"). A position that the log
//! no longer retains is a gap; one that the log has not reached yet means that the log lost its end. Pure.

use schemars::JsonSchema;
use serde::Deserialize;
use telemill_engine::position::{Cursor, TopicId};
use thiserror::Error;

/// What to do about a gap: a position below what the log retains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Resume {
    /// Stop the topology and say what is gone.
    #[default]
    Fail,
    /// Go on at the earliest record retained, and count what was skipped.
    Earliest,
}

/// What the log has of a topic in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retained {
    /// The earliest offset.
    pub(crate) low: i64,
    /// The offset behind the last.
    pub(crate) high: i64,
}

/// Where to begin.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Start {
    /// The first offset to read.
    pub(crate) offset: i64,
    /// How many offsets were skipped because they are gone.
    pub(crate) skipped: i64,
}

/// Why there is nowhere to begin.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum ResumeError {
    #[error(
        "offsets {wanted} to {} are no longer retained (the earliest is {low}); \
         say `resume: earliest` to go on without them, and raise the topic's retention",
        .low - 1
    )]
    Gone { wanted: i64, low: i64 },
    #[error(
        "offset {wanted} was reached before, but the log ends at {high}: the log lost its end, and new records would \
         be taken for old ones; restore the topic, or start with a new group and empty stores"
    )]
    Lost { wanted: i64, high: i64 },
}

/// The lowest of what each party wants next. `None`: it keeps positions and has none.
pub(crate) fn start(
    wants: impl IntoIterator<Item = Option<i64>> + Clone,
    retained: Retained,
    resume: Resume,
) -> Result<Start, ResumeError> {
    let Retained { low, high } = retained;
    let known = || wants.clone().into_iter().flatten();
    if let Some(wanted) = known().max().filter(|wanted| *wanted > high) {
        return Err(ResumeError::Lost { wanted, high });
    }
    match known().min() {
        Some(wanted) if wanted < low => match resume {
            Resume::Fail => Err(ResumeError::Gone { wanted, low }),
            Resume::Earliest => Ok(Start { offset: low, skipped: low - wanted }),
        },
        Some(wanted) if wants.clone().into_iter().all(|want| want.is_some()) => {
            Ok(Start { offset: wanted, skipped: 0 })
        }
        _ => Ok(Start { offset: low, skipped: 0 }),
    }
}

/// The id in a cursor that can only be of a topic of ours as it was before it was deleted and made again, or before the
/// list of topics was changed: it is none of `present`, and one of `present` is not in the cursor.
pub(crate) fn foreign(cursor: &Cursor, present: &[TopicId]) -> Option<TopicId> {
    let unknown = cursor.0.iter().find(|entry| !present.contains(&entry.topic))?;
    present.iter().any(|topic| cursor.get(*topic).is_none()).then_some(unknown.topic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use telemill_engine::position::TopicOffset;
    use uuid::Uuid;

    #[test]
    fn the_lowest_wins_and_nothing_is_lower_than_any() {
        let retained = Retained { low: 10, high: 100 };
        let check = |wants: &[Option<i64>], expect: i64| {
            let wants = wants.iter().copied();
            assert_eq!(start(wants, retained, Resume::Fail), Ok(Start { offset: expect, skipped: 0 }));
        };
        check(&[Some(50)], 50);
        check(&[Some(50), Some(20)], 20);
        check(&[Some(20), Some(50)], 20);
        check(&[Some(10)], 10);
        check(&[Some(100)], 100);
        check(&[None], 10);
        check(&[None, Some(50)], 10);
        check(&[Some(50), None], 10);
        check(&[], 10);
    }

    #[test]
    fn what_is_gone_follows_the_policy_and_a_lost_end_never_passes() {
        let check = |want: i64, resume, expect| {
            assert_eq!(start([Some(want), Some(90)], Retained { low: 10, high: 100 }, resume), expect);
        };
        check(9, Resume::Fail, Err(ResumeError::Gone { wanted: 9, low: 10 }));
        check(4, Resume::Earliest, Ok(Start { offset: 10, skipped: 6 }));
        for resume in [Resume::Fail, Resume::Earliest] {
            check(101, resume, Err(ResumeError::Lost { wanted: 101, high: 100 }));
        }
        let somebody_has_nothing = start([None, Some(4)], Retained { low: 10, high: 100 }, Resume::Fail);
        assert_eq!(somebody_has_nothing, Err(ResumeError::Gone { wanted: 4, low: 10 }));
    }

    #[test]
    fn a_topic_that_was_made_again_is_found_out() {
        let id = |n| TopicId(Uuid::from_u128(n));
        let check = |cursor: &[u128], expect: Option<u128>| {
            let cursor = Cursor(cursor.iter().map(|n| TopicOffset { topic: id(*n), offset: 0 }).collect());
            assert_eq!(foreign(&cursor, &[id(1), id(2)]), expect.map(id));
        };
        check(&[], None);
        check(&[1], None);
        check(&[1, 2], None);
        check(&[1, 2, 3], None);
        check(&[1, 3], Some(3));
        check(&[3], Some(3));
    }
}
