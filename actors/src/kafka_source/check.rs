//! The spec of a `kafka_source`, and what is proven of it before anything is connected.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use telemill_engine::context::{CheckContext, TopicDecl};
use telemill_engine::topology::{ByteSize, HumanDuration};

use super::fences::Fences;
use crate::kafka::connection::KafkaConnection;
use crate::log::resume::Resume;
use crate::log::spec::{TimeBase, check_read_topics};

/// As written.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaSourceSpec {
    /// The `kafka` connection.
    pub connection: String,
    /// The topics to read. The first leads: who has a partition of it reads the same partition of all. They need the
    /// same number of partitions.
    pub topics: Vec<String>,
    /// The consumer group. Two sources with the same group share the work; with groups of their own each reads all.
    pub group: String,
    /// What moves the clock of the sessions behind this source.
    #[serde(default)]
    pub time: TimeBase,
    /// What to do when records that are still needed are no longer retained.
    #[serde(default)]
    pub resume: Resume,
    /// How long the group waits for a sign of life before it gives the partitions to others; 45 seconds when absent.
    /// A process that is killed and started again within it gets its partitions back at once.
    #[serde(default)]
    pub session_timeout: Option<HumanDuration>,
    /// Bytes of messages that are fetched ahead, in all; 32 MiB when absent.
    #[serde(default)]
    pub fetch_max: Option<ByteSize>,
}

/// Proven good.
#[derive(Clone, Debug)]
pub struct CheckedKafkaSource {
    pub(super) connection: Arc<KafkaConnection>,
    /// As declared.
    pub(super) topics: Vec<TopicDecl>,
    pub(super) group: String,
    pub(super) time: TimeBase,
    pub(super) resume: Resume,
    pub(super) session_timeout: Duration,
    pub(super) fetch_max: u64,
    pub(super) fences: Fences,
}

const SESSION_TIMEOUT: Duration = Duration::from_secs(45);
/// What brokers accept unless they are told otherwise.
const SESSION_TIMEOUTS: std::ops::RangeInclusive<Duration> = Duration::from_secs(6)..=Duration::from_secs(1800);
const FETCH_MAX: u64 = 32 * 1024 * 1024;
const LEAST_FETCH_MAX: u64 = 4 * 1024 * 1024;

pub(super) fn check(spec: KafkaSourceSpec, cx: &mut CheckContext<'_>) -> Option<CheckedKafkaSource> {
    let before = cx.problems.len();
    let connection = cx.connection::<KafkaConnection>("connection", &spec.connection);
    let topics = check_read_topics(&spec.topics, cx);
    if spec.group.is_empty() {
        cx.problem("group", "kafka_source::no_group", "the consumer group has no name", "name it, such as `telemill`");
    }
    let session_timeout = spec.session_timeout.map_or(SESSION_TIMEOUT, Duration::from);
    if !SESSION_TIMEOUTS.contains(&session_timeout) {
        let message = format!("session timeout {session_timeout:?} is not between 6 s and 30 min");
        cx.problem("session_timeout", "kafka_source::session_timeout", message, "brokers accept nothing else");
    }
    let fetch_max = spec.fetch_max.map_or(FETCH_MAX, u64::from);
    if fetch_max < LEAST_FETCH_MAX {
        let message = format!("{fetch_max} bytes are too few to fetch ahead");
        cx.problem("fetch_max", "kafka_source::fetch_max", message, "give it at least 4MiB");
    }
    let connection = connection.filter(|_| cx.problems.len() == before)?;
    Some(CheckedKafkaSource {
        connection,
        topics,
        group: spec.group,
        time: spec.time,
        resume: spec.resume,
        session_timeout,
        fetch_max,
        fences: Fences::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use telemill_engine::context::{Connection, Connections, Topics};

    fn check(spec: &str) -> Result<CheckedKafkaSource, Vec<String>> {
        let (mut problems, topics) = (Vec::new(), Topics::default());
        let mut connections = Connections::new();
        let mut cx = CheckContext {
            name: "events",
            inputs: &[],
            connections: &connections,
            topics: &topics,
            problems: &mut problems,
        };
        let log = serde_json::from_str(r#"{"brokers":["127.0.0.1:9092"]}"#).unwrap();
        let log = KafkaConnection::check(log, &mut cx).unwrap();
        connections.insert("log", Arc::new(log));
        let mut cx = CheckContext {
            name: "events",
            inputs: &[],
            connections: &connections,
            topics: &topics,
            problems: &mut problems,
        };
        let checked = super::check(serde_json::from_str(spec).unwrap(), &mut cx);
        checked.ok_or_else(|| problems.into_iter().map(|p| format!("{} {}", p.at, p.code)).collect())
    }

    #[test]
    fn defaults_are_safe() {
        let checked = check(r#"{"connection":"log","topics":["x"],"group":"g"}"#).unwrap();
        assert_eq!((checked.time, checked.resume), (TimeBase::Marks, Resume::Fail));
        assert_eq!((checked.session_timeout, checked.fetch_max), (SESSION_TIMEOUT, FETCH_MAX));
    }

    #[test]
    fn every_problem_is_reported_at_its_place() {
        let refused = |spec: &str, expect: &[&str]| assert_eq!(check(spec).unwrap_err(), expect, "{spec}");
        refused(
            r#"{"connection":"nope","topics":[],"group":"","session_timeout":"1s","fetch_max":"1KiB"}"#,
            &[
                "connection topology::unknown_connection",
                "topics kafka_source::no_topics",
                "group kafka_source::no_group",
                "session_timeout kafka_source::session_timeout",
                "fetch_max kafka_source::fetch_max",
            ],
        );
        refused(
            r#"{"connection":"log","topics":["x","x","a/b"],"group":"g"}"#,
            &["topics[1] kafka_source::topic_twice", "topics[2] kafka_source::bad_topic"],
        );
    }
}
