//! Telling the group's coordinator what is safe.
//!
//! All topics of a partition are committed together, by the member that has the partition: a member that was replaced
//! is refused. The metadata of each offset is the topic's id, so that an offset is never taken for one of another topic
//! of the same name. Commits and the giving up of partitions exclude each other.

use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};
use telemill_engine::faults;
use telemill_engine::position::Partition;

use super::group::Member;
use super::shared::Shared;
use crate::log::ledger::Commit;

/// Commits what is safe; with `again`, also what is committed already, so that it does not expire. Blocks.
pub(super) fn all(member: &Member, shared: &Shared, again: bool) -> KafkaResult<()> {
    let _committing = shared.committing();
    send(member, shared, shared.to_commit(again))
}

/// Commits what is safe of these partitions. Blocks.
pub(super) fn partitions(member: &Member, shared: &Shared, partitions: &[Partition]) -> KafkaResult<()> {
    let _committing = shared.committing();
    send(member, shared, shared.to_commit_of(partitions))
}

fn send(member: &Member, shared: &Shared, commits: Vec<Commit>) -> KafkaResult<()> {
    if commits.is_empty() {
        return Ok(());
    }
    let mut list = TopicPartitionList::with_capacity(commits.len() * shared.setup.topics.len());
    for commit in &commits {
        for (topic, offset) in shared.setup.topics.iter().zip(&commit.offsets) {
            let mut element = list.add_partition(&topic.name, commit.partition);
            element.set_offset(Offset::Offset(*offset))?;
            element.set_metadata(topic.id.to_string());
        }
    }
    faults::point("kafka_source.before_commit");
    member.commit(&list, CommitMode::Sync)?;
    faults::point("kafka_source.after_commit");
    shared.committed(commits);
    Ok(())
}
