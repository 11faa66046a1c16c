//! What a sink on the embedded log has durably taken from an MQTT session: read from the ends of its topics.

use std::sync::Arc;

use async_trait::async_trait;
use telemill_engine::ports::{PortError, Recall};
use telemill_engine::record::Origin;
use ulid::Ulid;

use crate::embedded::log::{Log, LogError, Topic, frame, records};

/// The ends of a sink's topics.
pub(in crate::embedded) struct EmbeddedRecall {
    pub(in crate::embedded) log: Arc<Log>,
    pub(in crate::embedded) topics: Vec<Arc<Topic>>,
}

#[async_trait]
impl Recall for EmbeddedRecall {
    async fn recall(&self, slot: u16, slot_session: Ulid, limit: usize) -> Result<Vec<Origin>, PortError> {
        // Behind everything that the sink was given before.
        self.log.disk().write(|_| Ok::<_, LogError>(())).await?;
        let topics = self.topics.clone();
        let far_back = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut origins = self
            .log
            .disk()
            .read(move |view| {
                let mut origins = Vec::new();
                for topic in &topics {
                    for partition in 0..topic.partitions() {
                        // The last `limit` productions may all lie in one partition, so each is read that far back.
                        let (low, end) = topic.bounds(partition);
                        let range = low.max(end.saturating_sub(far_back))..end;
                        for entry in records(view, topic, partition, range, usize::MAX, usize::MAX)? {
                            let origin = frame::read(&entry.frame).and_then(|frame| frame.headers.origin());
                            origins.extend(origin.filter(|o| o.slot == slot && o.slot_session == slot_session));
                        }
                    }
                }
                Ok::<_, LogError>(origins)
            })
            .await?;
        origins.sort_unstable_by_key(|origin| std::cmp::Reverse(origin.delivery));
        origins.truncate(limit);
        Ok(origins)
    }
}
