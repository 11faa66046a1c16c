//! What a source is set up with, and how its two clients are configured.
//!
//! The *group* client is a member of the consumer group and does nothing else: it never fetches, it holds the
//! assignment of the leading topic and commits for all topics as the member that it is, so the group's coordinator
//! refuses a commit of a member that was replaced. The *fetch* client reads, by explicit assignment at explicit
//! offsets: the leading topic no different from those that follow.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use telemill_engine::peers::Peer;

use super::fences::Fences;
use super::joining;
use crate::kafka::connection::KafkaConnection;
use crate::log::reading::Reading;

/// What a source is set up with.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) reading: Reading,
    pub(super) connection: Arc<KafkaConnection>,
    /// The brokers, for those who look at the stage.
    pub(super) brokers: Peer,
    pub(super) group: String,
    /// Partitions of every topic.
    pub(super) partitions: i32,
    pub(super) session_timeout: Duration,
    /// Bytes of messages fetched ahead.
    pub(super) fetch_max: u64,
    pub(super) fences: Fences,
}

impl Deref for Setup {
    type Target = Reading;
    fn deref(&self) -> &Reading {
        &self.reading
    }
}

/// What is requested of one partition at a time.
const FETCH: std::ops::RangeInclusive<u64> = 64 * 1024..=256 * 1024;

impl Setup {
    /// How long a partition that is taken away may take to drain.
    pub(super) fn drain_time(&self) -> Duration {
        (self.session_timeout * 2 / 3).min(Duration::from_secs(10))
    }

    /// The bytes that wait in memory to be asked for; the client's own queues hold the rest.
    pub(super) fn outbox_bytes(&self) -> usize {
        usize::try_from(self.fetch_max / 4).unwrap_or(usize::MAX)
    }

    /// The configuration of the group's member.
    pub(super) fn group_client(&self) -> ClientConfig {
        let mut config = self.client();
        let session = self.session_timeout.as_millis();
        config
            // A static member that comes back within the session timeout gets its partitions back at once.
            .set("group.instance.id", format!("telemill-{}-{}", self.topology, self.stage))
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", session.to_string())
            .set("heartbeat.interval.ms", (session / 10).clamp(500, 3000).to_string())
            // Also how long the group waits for a member that drains; polling itself never takes as long.
            .set("max.poll.interval.ms", (session * 2).to_string())
            .set("statistics.interval.ms", joining::SAID_EVERY.as_millis().to_string())
            // Its partitions are paused as soon as they are assigned: the little that arrives before is dropped.
            .set("queued.min.messages", "1")
            .set("queued.max.messages.kbytes", "16")
            .set("fetch.message.max.bytes", "1024");
        config
    }

    /// The configuration of the client that reads.
    pub(super) fn fetch_client(&self) -> ClientConfig {
        let queues = self.topics.len() as u64 * self.partitions.max(1) as u64;
        let queue = (self.fetch_max * 3 / 4 / queues.max(1)).clamp(*FETCH.start(), 64 * 1024 * 1024);
        let fetch = queue.clamp(*FETCH.start(), *FETCH.end());
        let mut config = self.client();
        config
            .set("enable.partition.eof", "true")
            // Each topic of each partition has a queue of its own, to which these limits apply.
            .set("queued.max.messages.kbytes", (queue / 1024).to_string())
            .set("queued.min.messages", "4000")
            .set("fetch.message.max.bytes", fetch.to_string())
            .set("fetch.max.bytes", (fetch * queues).clamp(1024 * 1024, self.fetch_max.max(1024 * 1024)).to_string())
            // A request that waits for a partition without news also keeps those back that have room again.
            .set("fetch.wait.max.ms", "100")
            // How soon a full queue is looked at again, and a partition whose fetch failed.
            .set("fetch.queue.backoff.ms", "10")
            .set("fetch.error.backoff.ms", "100");
        config
    }

    fn client(&self) -> ClientConfig {
        let mut config = self.connection.client_config();
        config
            .set("group.id", &self.group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            .set("allow.auto.create.topics", "false");
        config
    }
}
