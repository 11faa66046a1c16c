//! `kafka_source`: reads a consumer group's share of one or several topics, merged by partition.
//!
//! ```text
//!  group thread ── which partitions are ours ──┐
//!  keeper thread ─ where they begin, commits ──┤ Shared ──── Reader, Acker ── the engine
//!  fetch thread ── reads, decodes, merges ─────┘
//! ```
//!
//! The first topic leads the assignment and the others follow it, so that one instance has all records of a device.
//! Records of a partition come in the order that `docs/formats.md` gives under "Merging"; what is committed, and where
//! reading begins, is under "Where a source begins, and what it commits". The client library is only ever called on
//! threads of the source's own: nothing downstream holds up the group membership, and a client that hangs while it is
//! closed holds up nobody.

mod acker;
mod begin;
mod check;
mod cluster;
mod command_log;
mod commit;
mod contexts;
mod fences;
mod fetch;
mod group;
mod joining;
mod keeper;
mod presence;
mod reader;
mod running;
mod setup;
mod shared;
mod wait;
mod watch;

use std::sync::Arc;

use telemill_engine::context::{BuildContext, CheckContext, Connection, TopicDecl};
use telemill_engine::registry::Description;
use telemill_engine::source::Source;
use telemill_engine::stage::{BuildError, Component};

pub use acker::KafkaAcker;
pub use check::{CheckedKafkaSource, KafkaSourceSpec};
pub use reader::KafkaReader;

use crate::kafka::connection::KafkaConnection;
use crate::kafka::topics;
use crate::log::command::topic_of_commands;
use crate::log::reading::{Reading, Topic};
use crate::log::spec::{TimeBase, describe_source, equal_partitions};
use command_log::KafkaCommandLog;
use running::Running;
use setup::Setup;

/// A source that reads topics of Kafka as a member of a consumer group.
pub struct KafkaSource(Running);

impl Component for KafkaSource {
    const KIND: &'static str = "kafka_source";
    const CONNECTION: &'static str = KafkaConnection::KIND;
    type Spec = KafkaSourceSpec;
    type Checked = CheckedKafkaSource;

    fn check(spec: KafkaSourceSpec, cx: &mut CheckContext<'_>) -> Option<CheckedKafkaSource> {
        check::check(spec, cx)
    }

    fn describe(checked: &CheckedKafkaSource) -> Description {
        describe_source(&checked.topics, checked.time)
    }

    async fn build(checked: &CheckedKafkaSource, cx: &BuildContext) -> Result<Self, BuildError> {
        let marks = cx.marks.clone().filter(|_| checked.time == TimeBase::Marks);
        let has_marks = marks.is_some();
        let declared: Vec<TopicDecl> = checked.topics.iter().cloned().chain(marks).collect();
        let ensured = topics::ensure(&checked.connection, &declared).await?;
        let partitions = equal_partitions(ensured.iter().map(|topic| (topic.name.as_str(), topic.partitions)))?;
        if let Some(commands) = topic_of_commands(checked.topics.iter().map(|topic| topic.name.as_str())) {
            cx.ports.offer_command_log(Arc::new(KafkaCommandLog::new(checked.connection.clone(), commands, &cx.stage)));
        }
        let topics = ensured.into_iter().map(|topic| Topic { name: topic.name.into(), id: topic.id }).collect();
        let (topology, stage) = (cx.topology.clone(), cx.stage.clone());
        let reading = Reading { topology, stage, topics, has_marks, partitions, resume: checked.resume };
        let setup = Setup {
            reading,
            connection: checked.connection.clone(),
            brokers: cx.peers.peer(checked.connection.peer()),
            group: checked.group.clone(),
            partitions,
            session_timeout: checked.session_timeout,
            fetch_max: checked.fetch_max,
            fences: checked.fences.clone(),
        };
        Running::start(setup).map(KafkaSource)
    }
}

impl Source for KafkaSource {
    type Reader = KafkaReader;
    type Acker = KafkaAcker;

    fn split(self) -> (KafkaReader, KafkaAcker) {
        let (stop, ending) = self.0.split();
        let stop = Arc::new(stop);
        (KafkaReader::new(stop.clone()), KafkaAcker::new(stop, ending))
    }
}
