//! What a sink on the embedded log has durably taken from an MQTT session, and which dead letters it has: read from the
//! ends of its topics.

use std::sync::Arc;

use async_trait::async_trait;
use telemill_engine::ports::{GivenUp, LetterEnds, Letters, PortError, Recall, Taken};
use ulid::Ulid;

use crate::embedded::log::{Log, LogError, Topic, for_each};
use crate::log::tail::{Tail, behind};

/// The ends of a sink's topics.
pub(super) struct EmbeddedTails {
    pub(super) log: Arc<Log>,
    pub(super) topics: Vec<Arc<Topic>>,
}

impl EmbeddedTails {
    /// Waits for everything that the sink was given before.
    async fn settled(&self) -> Result<(), LogError> {
        self.log.disk().write(|_| Ok(())).await
    }
}

#[async_trait]
impl Recall for EmbeddedTails {
    async fn recall(&self, slot: u16, slot_session: Ulid, limit: usize) -> Result<Vec<Taken>, PortError> {
        self.settled().await?;
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
                    for_each(view, topic, partition, range, |record| {
                        if let Some(taken) =
                            record.headers.taken().filter(|taken| taken.origin.is_of(slot, slot_session))
                        {
                            tail.found(place, taken);
                        }
                    })?;
                }
            }
        });
        Ok(found.await?)
    }
}

#[async_trait]
impl Letters for EmbeddedTails {
    async fn given_up(
        &self,
        topology: &str,
        read: &LetterEnds,
        limit: usize,
    ) -> Result<(Vec<GivenUp>, LetterEnds), PortError> {
        /// Between two stretches the disk may be written to, and whoever waits may give up.
        const STRETCH: i64 = 1024;
        self.settled().await?;
        let mut found = Vec::new();
        // Letters have one topic.
        let Some(topic) = self.topics.first() else { return Ok((found, read.clone())) };
        let mut ends = Vec::new();
        for partition in 0..topic.partitions() {
            let (low, end) = topic.bounds(partition);
            let mut from = behind(read, partition, (low, end), limit / topic.partitions().max(1) as usize);
            while from < end {
                let (topic, topology, stretch) = (topic.clone(), topology.to_owned(), from..end.min(from + STRETCH));
                from = stretch.end;
                let letters = self.log.disk().read(move |view| {
                    let mut letters = Vec::new();
                    for_each(view, &topic, partition, stretch, |record| {
                        letters.extend(record.headers.given_up_in(&topology));
                    })?;
                    Ok::<_, LogError>(letters)
                });
                found.extend(letters.await?);
            }
            ends.push(end);
        }
        Ok((found, ends))
    }
}
