//! The spec of a `kafka_source` on an embedded connection, and what is proven of it.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use telemill_engine::context::{CheckContext, TopicDecl};

use crate::embedded::EmbeddedConnection;
use crate::log::resume::Resume;
use crate::log::spec::{TimeBase, check_read_topics};

/// As written.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmbeddedSourceSpec {
    /// The `embedded` connection.
    pub connection: String,
    /// The topics to read, merged by time. They need the same number of partitions.
    pub topics: Vec<String>,
    /// The group under whose name it is kept how far this source has come. Each source needs one of its own.
    pub group: String,
    /// What moves the clock of the sessions behind this source.
    #[serde(default)]
    pub time: TimeBase,
    /// What to do when records that are still needed are no longer retained.
    #[serde(default)]
    pub resume: Resume,
}

/// Proven good.
#[derive(Clone, Debug)]
pub struct CheckedEmbeddedSource {
    pub(super) connection: Arc<EmbeddedConnection>,
    /// As declared.
    pub(super) topics: Vec<TopicDecl>,
    pub(super) group: String,
    pub(super) time: TimeBase,
    pub(super) resume: Resume,
}

/// Its length stands in keys.
const LONGEST_GROUP: usize = 1024;

pub(super) fn check(spec: EmbeddedSourceSpec, cx: &mut CheckContext<'_>) -> Option<CheckedEmbeddedSource> {
    let before = cx.problems.len();
    let connection = cx.connection::<EmbeddedConnection>("connection", &spec.connection);
    let topics = check_read_topics(&spec.topics, cx);
    if spec.group.is_empty() {
        cx.problem("group", "kafka_source::no_group", "the group has no name", "name it, such as `telemill`");
    }
    if spec.group.len() > LONGEST_GROUP {
        let message = format!("the group's name has {} bytes", spec.group.len());
        cx.problem("group", "kafka_source::long_group", message, "1024 are the most");
    }
    let connection = connection.filter(|_| cx.problems.len() == before)?;
    Some(CheckedEmbeddedSource { connection, topics, group: spec.group, time: spec.time, resume: spec.resume })
}
