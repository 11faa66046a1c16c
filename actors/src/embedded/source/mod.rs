//! `kafka_source` on the embedded log: a group's cursor over one or several topics, merged by partition.
//!
//! One process has all partitions. Records of a partition come in the order that `docs/formats.md` gives under
//! "Merging"; what is committed, and where reading begins, is under "Where a source begins, and what it commits". New
//! records are waited for, not polled for. The reader reads and merges on a blocking thread, one step ahead of what it
//! is asked for; the acker's task commits what is safe every half second, and once more at the end.

mod acker;
mod check;
mod command_log;
mod commit;
mod fetch;
mod reader;
mod shared;

use std::sync::Arc;

use telemill_engine::context::{BuildContext, CheckContext, Connection, TopicDecl};
use telemill_engine::registry::Description;
use telemill_engine::source::Source;
use telemill_engine::stage::{BuildError, Component};

pub use acker::EmbeddedAcker;
pub use check::{CheckedEmbeddedSource, EmbeddedSourceSpec};
pub use reader::EmbeddedReader;

use super::log::Log;
use crate::log::command::topic_of_commands;
use crate::log::reading::{Reading, Topic};
use crate::log::spec::{TimeBase, describe_source, equal_partitions};
use command_log::EmbeddedCommandLog;
use shared::Shared;

/// A source that reads topics of the embedded log as a group.
pub struct EmbeddedSource(Arc<Shared>);

impl Component for EmbeddedSource {
    const KIND: &'static str = "kafka_source";
    const CONNECTION: &'static str = crate::embedded::EmbeddedConnection::KIND;
    type Spec = EmbeddedSourceSpec;
    type Checked = CheckedEmbeddedSource;

    fn check(spec: EmbeddedSourceSpec, cx: &mut CheckContext<'_>) -> Option<CheckedEmbeddedSource> {
        check::check(spec, cx)
    }

    fn describe(checked: &CheckedEmbeddedSource) -> Description {
        describe_source(&checked.topics, checked.time)
    }

    async fn build(checked: &CheckedEmbeddedSource, cx: &BuildContext) -> Result<Self, BuildError> {
        let log = Log::of(&checked.connection.disk().await?);
        let marks = cx.marks.clone().filter(|_| checked.time == TimeBase::Marks);
        let has_marks = marks.is_some();
        let declared: Vec<TopicDecl> = checked.topics.iter().cloned().chain(marks).collect();
        let topics = log.ensure(&declared).await?;
        let partitions = equal_partitions(topics.iter().map(|topic| (topic.name.as_str(), topic.partitions())))?;
        let membership = log.join(&checked.group).ok_or_else(|| {
            BuildError::Unavailable(format!(
                "group `{}` is being read by another stage: a group on an embedded log is one source's; give this one \
                 a name of its own",
                checked.group
            ))
        })?;
        if let Some(commands) = topic_of_commands(topics.iter().map(|topic| topic.name.as_str()))
            && let Some(topic) = topics.iter().find(|topic| topic.name == commands)
        {
            let commands = EmbeddedCommandLog { log: log.clone(), topic: topic.clone() };
            cx.ports.offer_command_log(Arc::new(commands));
        }
        let reading = Reading {
            topology: cx.topology.clone(),
            stage: cx.stage.clone(),
            topics: topics.iter().map(|topic| Topic { name: topic.name.as_str().into(), id: topic.id }).collect(),
            has_marks,
            partitions,
            resume: checked.resume,
        };
        Ok(EmbeddedSource(Arc::new(Shared::new(log, topics, checked.group.clone(), reading, membership))))
    }
}

impl Source for EmbeddedSource {
    type Reader = EmbeddedReader;
    type Acker = EmbeddedAcker;

    fn split(self) -> (EmbeddedReader, EmbeddedAcker) {
        (EmbeddedReader::new(self.0.clone()), EmbeddedAcker::new(self.0))
    }
}
