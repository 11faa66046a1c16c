//! Where a reader of the alert log goes on: the `id:` of a server-sent event.
//!
//! `{topic id, 32 hex digits}-{next offset of partition 0, hex}.{of partition 1}.…`: an entry's cursor covers all
//! partitions, so that a reader which comes back with it gets exactly the rest.

use std::fmt;
use std::str::FromStr;

use telemill_engine::ports::{FROM_THE_BEGINNING, FollowError};
use telemill_engine::position::TopicId;
use thiserror::Error;
use uuid::Uuid;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogCursor {
    pub(crate) topic: TopicId,
    /// By partition.
    pub(crate) next: Vec<i64>,
}

#[derive(Debug, Error)]
#[error("`{0}` is no cursor of the alert log; leave it out to begin with what comes now")]
pub(crate) struct BadCursor(String);

impl LogCursor {
    /// Where a stream goes on behind `after`: a cursor that an entry of this log gave, or the beginning.
    pub(crate) fn behind(after: &str, topic: TopicId, partitions: i32) -> Result<LogCursor, FollowError> {
        let partitions = usize::try_from(partitions).unwrap_or(0);
        let beginning = LogCursor { topic, next: vec![0; partitions] };
        if after == FROM_THE_BEGINNING {
            return Ok(beginning);
        }
        let cursor: LogCursor = after.parse().map_err(|error: BadCursor| FollowError::BadCursor(error.to_string()))?;
        if cursor.topic != topic {
            // The topic was deleted and made again: all that is in it is behind a cursor on the old one.
            return Ok(beginning);
        }
        if cursor.next.len() != partitions {
            let count = cursor.next.len();
            let why = format!("the cursor has {count} partitions, the alert log {partitions}");
            return Err(FollowError::BadCursor(why));
        }
        Ok(cursor)
    }
}

impl fmt::Display for LogCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.topic)?;
        for (partition, offset) in self.next.iter().enumerate() {
            let separator = if partition == 0 { '-' } else { '.' };
            write!(f, "{separator}{offset:x}")?;
        }
        Ok(())
    }
}

impl FromStr for LogCursor {
    type Err = BadCursor;
    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let parse = || {
            let (topic, offsets) = text.split_once('-')?;
            let topic = Uuid::try_parse(topic).ok().filter(|_| topic.len() == 32)?;
            let offset = |digits: &str| i64::from_str_radix(digits, 16).ok().filter(|offset| *offset >= 0);
            let next = offsets.split('.').map(offset).collect::<Option<Vec<_>>>()?;
            Some(LogCursor { topic: TopicId(topic), next })
        };
        parse().ok_or_else(|| BadCursor(text.chars().take(100).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_the_client() {
        let cursor = LogCursor { topic: TopicId(Uuid::from_u128(0xab)), next: vec![0, 255, 1 << 40] };
        assert_eq!(cursor.to_string(), "000000000000000000000000000000ab-0.ff.10000000000");
        assert_eq!(cursor.to_string().parse::<LogCursor>().unwrap(), cursor);
    }

    #[test]
    fn anything_else_is_refused() {
        let topic = "000000000000000000000000000000ab";
        let bad = [topic.to_owned(), format!("{topic}-"), format!("{topic}-1.x"), format!("{topic}--1"), "7".into()];
        for text in bad.iter().map(String::as_str).chain(["", "-", "ab-1"]) {
            assert!(text.parse::<LogCursor>().is_err(), "{text}");
        }
    }
}
