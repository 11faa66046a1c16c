//! A Kafka message becomes a record, or a rejected one.
//!
//! The value is copied once, out of librdkafka's memory; the record's payload is a slice of that copy.

use std::sync::Arc;

use bytes::Bytes;
use rdkafka::message::{BorrowedMessage, Message};
use telemill_engine::position::{Position, TopicId};

use super::headers::headers_of;
use crate::log::message::{Parts, Taken};

/// Takes a message of the topic `id` apart. `stage` is named in the dead letter of one that is no record.
pub fn record_from_message(message: &BorrowedMessage<'_>, id: TopicId, stage: &Arc<str>) -> Taken {
    let position = Position { topic: id, partition: message.partition(), offset: message.offset(), output: 0 };
    let parts = Parts {
        topic: message.topic(),
        position,
        timestamp: message.timestamp().to_millis().and_then(|millis| u64::try_from(millis).ok()),
        key: message.key(),
        value: message.payload().map(Bytes::copy_from_slice),
        headers: headers_of(message),
    };
    parts.take(stage)
}
