//! A topology file as written.
//!
//! Parts whose type depends on a kind (connections, stages, stores) stay nodes here and are decoded by their kind's
//! entry in the registry.

use schemars::JsonSchema;
use serde::Deserialize;

use super::document::{ByteSize, Entries, HumanDuration, Located, Node};
use super::simulate::SimulateSpec;

/// A topology file.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct TopologySpec {
    /// The version of the topology language: 1.
    pub version: Located<u64>,
    /// The topology's name: letters, digits, `-` and `_`. It is part of keys and topics that outlive the process.
    pub name: Located<String>,
    /// Addresses and credentials, by name: `{ kafka: { … } }`.
    #[serde(default)]
    pub connections: Entries<Node>,
    /// The topics of the log: `defaults`, and any topic that differs from them.
    #[serde(default)]
    pub topics: Entries<TopicSpec>,
    /// Where claims, slots and checkpoints are kept: `{ redis: { … } }`.
    pub checkpoints: Node,
    /// How often a checkpoint is written while there is something to write.
    #[serde(default = "default_checkpoint_every")]
    pub checkpoint_every: HumanDuration,
    /// The stages, by name.
    pub stages: Entries<Node>,
    /// Where records go that cannot be handled: `{ kafka: { … } }`.
    pub dead_letters: Node,
    /// How failed stages are restarted.
    #[serde(default)]
    pub restart: RestartSpec,
    /// The longest that stopping may take: what is in flight is finished first.
    #[serde(default = "default_drain_deadline")]
    pub drain_deadline: HumanDuration,
    /// A fleet of simulated devices that publish to this topology's own ingress.
    #[serde(default)]
    pub simulate: Option<SimulateSpec>,
}

fn default_checkpoint_every() -> HumanDuration {
    std::time::Duration::from_secs(1).into()
}

fn default_drain_deadline() -> HumanDuration {
    crate::runtime::DEFAULT_DRAIN_DEADLINE.into()
}

/// What a topic should be like. A field that is left out is as in `defaults`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct TopicSpec {
    /// The connection of the log it is in. Only under `defaults`.
    pub connection: Option<Located<String>>,
    /// The number of partitions. Cannot be changed once the topic exists.
    pub partitions: Option<Located<u32>>,
    /// The number of replicas.
    pub replication: Option<Located<u32>>,
    /// How many replicas must have a record before it counts as written.
    pub min_insync_replicas: Option<Located<u32>>,
    /// How long records are kept.
    pub retention: Option<HumanDuration>,
    /// How many bytes of records are kept, those of all partitions together; the oldest go first.
    pub retention_size: Option<ByteSize>,
    /// The largest record.
    pub max_message_size: Option<ByteSize>,
}

/// How failed stages are restarted: at most `max_restarts` `within` a period, each after a wait that grows.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RestartSpec {
    /// Restarts allowed in the period; one more fails the topology.
    pub max_restarts: u32,
    /// The period.
    pub within: HumanDuration,
    /// The waits.
    pub backoff: BackoffSpec,
}

impl Default for RestartSpec {
    fn default() -> Self {
        let policy = crate::runtime::RestartPolicy::default();
        RestartSpec { max_restarts: policy.max_restarts, within: policy.within.into(), backoff: BackoffSpec::default() }
    }
}

/// Waits that double from `initial` to `max`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BackoffSpec {
    /// The first wait.
    pub initial: HumanDuration,
    /// The longest.
    pub max: HumanDuration,
}

impl Default for BackoffSpec {
    fn default() -> Self {
        let policy = crate::retry::BackoffPolicy::default();
        BackoffSpec { initial: policy.initial.into(), max: policy.max.into() }
    }
}

/// What any stage may say beside its kind.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StageSpec {
    /// The stages, or outlets of stages (`sessions.presence`), that feed it.
    pub inputs: Vec<Located<String>>,
    /// How records are gathered.
    pub batch: BatchSpec,
    /// What may wait in front of it.
    pub mailbox: MailboxSpec,
    /// How often a record is tried.
    pub retry: RetrySpec,
}

/// The fields of [`StageSpec`], which stand beside the kind.
pub(super) const STAGE_FIELDS: &[&str] = &["inputs", "batch", "mailbox", "retry"];

/// How records are gathered: what is there, up to `max_records`; a stage waits for more only while a write is in flight.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BatchSpec {
    /// The most records in a batch.
    pub max_records: Located<u32>,
}

impl Default for BatchSpec {
    fn default() -> Self {
        BatchSpec { max_records: Located::nowhere(crate::runtime::StageLimits::default().max_records as u32) }
    }
}

/// What may wait in front of a stage, be in its hand, or in flight behind it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MailboxSpec {
    /// Records.
    pub records: Located<u32>,
    /// Their bytes.
    pub bytes: ByteSize,
}

impl Default for MailboxSpec {
    fn default() -> Self {
        let capacity = crate::runtime::Capacity::default();
        let bytes = ByteSize::from(capacity.bytes as u64);
        MailboxSpec { records: Located::nowhere(capacity.records as u32), bytes }
    }
}

/// How often a record is tried before it goes to the dead letters. Outages do not count.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RetrySpec {
    /// Tries, the first included.
    pub max_attempts: Located<u32>,
    /// The waits between them.
    pub backoff: BackoffSpec,
}

impl Default for RetrySpec {
    fn default() -> Self {
        let attempts = crate::runtime::StageLimits::default().max_attempts;
        RetrySpec { max_attempts: Located::nowhere(attempts), backoff: BackoffSpec::default() }
    }
}
