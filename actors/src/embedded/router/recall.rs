//! What a sink on the embedded log has durably taken from an MQTT session: read from the ends of its topics.

use std::sync::Arc;

use async_trait::async_trait;
use telemill_engine::ports::{PortError, Recall, Taken};
use ulid::Ulid;

use crate::embedded::log::{Log, LogError, Topic, frame, records};
use crate::log::tail::Tail;

/// The ends of a sink's topics.
pub(in crate::embedded) struct EmbeddedRecall {
    pub(in crate::embedded) log: Arc<Log>,
    pub(in crate::embedded) topics: Vec<Arc<Topic>>,
}

#[async_trait]
impl Recall for EmbeddedRecall {
    async fn recall(&self, slot: u16, slot_session: Ulid, limit: usize) -> Result<Vec<Taken>, PortError> {
        // Behind everything that the sink was given before.
        self.log.disk().write(|_| Ok::<_, LogError>(())).await?;
        let topics = self.topics.clone();
        let found = self.log.disk().read(move |view| {
            let partitions = |topic| (0..Topic::partitions(topic)).map(move |partition| (topic, partition));
            let places: Vec<(&Topic, i32)> = topics.iter().flat_map(|topic| partitions(&**topic)).collect();
            let mut tail = Tail::new(limit, places.iter().map(|(topic, partition)| topic.bounds(*partition)));
            loop {
                let next = tail.next();
                if next.is_empty() {
                    return Ok::<_, LogError>(tail.into_newest());
                }
                for (place, range) in next {
                    let (topic, partition) = places[place];
                    for entry in records(view, topic, partition, range, usize::MAX, usize::MAX)? {
                        let taken = frame::read(&entry.frame).and_then(|frame| frame.headers.taken());
                        if let Some(taken) = taken.filter(|taken| taken.origin.is_of(slot, slot_session)) {
                            tail.found(place, taken);
                        }
                    }
                }
            }
        });
        Ok(found.await?)
    }
}
