//! Which partitions are ours: the member of the consumer group, on a thread of its own.
//!
//! The member holds the assignment of the leading topic and fetches nothing. The thread polls it always, however far
//! behind the rest of the source is, so the group never takes it for dead. A partition that is taken away is drained
//! and committed inside the rebalance, for a bounded time; the other partitions are read on meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use telemill_engine::position::Partition;
use telemill_engine::source::SourceError;

use super::commit;
use super::contexts::{Complaints, log};
use super::joining::Joining;
use super::shared::Shared;
use super::wait::wait_until;

/// The group's member.
pub(super) type Member = BaseConsumer<MemberContext>;

const POLL: Duration = Duration::from_millis(100);

/// What the member does when the group rebalances.
pub(super) struct MemberContext {
    shared: Arc<Shared>,
    complaints: Arc<Complaints>,
    joining: Joining,
    /// The member is being closed: nothing is waited for any more.
    is_closing: AtomicBool,
}

/// Connects the member. It joins when [`run`] polls it.
pub(super) fn member(shared: &Arc<Shared>, complaints: &Arc<Complaints>) -> KafkaResult<Arc<Member>> {
    let context = MemberContext {
        shared: shared.clone(),
        complaints: complaints.clone(),
        joining: Joining::default(),
        is_closing: AtomicBool::new(false),
    };
    Member::from_config_and_context(&shared.setup.group_client(), context).map(Arc::new)
}

/// Joins the group and stays in it until the source is stopped, then leaves.
pub(super) fn run(member: Arc<Member>, shared: &Shared) {
    let leading = &shared.setup.topics[0].name;
    if let Err(error) = member.subscribe(&[leading]) {
        shared.fail(SourceError::Unavailable(format!("cannot join group `{}`: {error}", shared.setup.group)));
    }
    while !shared.is_stopped() {
        // A message can only be one that arrived before its partition was paused: the fetch client reads it, too.
        if let Some(Err(error)) = member.poll(POLL) {
            check(&error, shared);
        }
    }
    member.context().is_closing.store(true, Ordering::Release);
}

fn check(error: &KafkaError, shared: &Shared) {
    let KafkaError::MessageConsumptionFatal(code) = error else { return };
    let group = &shared.setup.group;
    shared.fail(match code {
        RDKafkaErrorCode::FencedInstanceId if !shared.setup.fences.is_again(Instant::now()) => {
            SourceError::Unavailable(format!("another member of its name has joined group `{group}`; joining again"))
        }
        RDKafkaErrorCode::FencedInstanceId => SourceError::Broken(format!(
            "another process joined group `{group}` as topology `{}`, stage `{}`, and has its partitions now; \
             run one of them only",
            shared.setup.topology, shared.setup.stage
        )),
        code => SourceError::Unavailable(format!("membership of group `{group}` ended: {code}")),
    });
}

impl ClientContext for MemberContext {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        log(facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.complaints.hear(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let Some(group) = statistics.cgrp else { return };
        if self.joining.is_stuck(&group, Instant::now()) {
            let setup = &self.shared.setup;
            self.shared.fail(SourceError::Unavailable(format!(
                "the client waits for the metadata of topic `{}`, which it does not ask for again; joining group `{}` anew",
                setup.topics[0].name, setup.group
            )));
        }
    }
}

impl ConsumerContext for MemberContext {
    fn rebalance(&self, member: &Member, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions: Vec<Partition> = list.elements().iter().map(|element| element.partition()).collect();
        let done = match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.gain(member, list, &partitions),
            _ => {
                if !self.is_closing.load(Ordering::Acquire) {
                    self.lose(member, &partitions);
                }
                member.incremental_unassign(list)
            }
        };
        if let Err(error) = done {
            let why = format!("the assignment of group `{}` could not be followed: {error}", self.shared.setup.group);
            self.shared.fail(SourceError::Unavailable(why));
        }
    }
}

impl MemberContext {
    /// Takes partitions over, without reading them here.
    fn gain(&self, member: &Member, list: &mut TopicPartitionList, partitions: &[Partition]) -> KafkaResult<()> {
        list.set_all_offsets(Offset::End)?;
        member.incremental_assign(list)?;
        if list.count() > 0 {
            member.pause(list)?;
        }
        tracing::info!(code = "partitions_gained", stage = &*self.shared.setup.stage, ?partitions, "partitions gained");
        self.shared.assigned(partitions);
        Ok(())
    }

    /// Drains partitions and commits what is safe of them, for as long as there is time.
    fn lose(&self, member: &Member, partitions: &[Partition]) {
        let stage = &*self.shared.setup.stage;
        let is_lost = member.assignment_lost();
        let drained = self.shared.leaving(partitions);
        if is_lost {
            tracing::warn!(code = "partitions_lost", stage, ?partitions, "partitions lost without notice");
        } else {
            let deadline = Instant::now() + self.shared.setup.drain_time();
            if drained.is_some_and(|drained| wait_until(drained, deadline).is_none()) {
                tracing::warn!(code = "partitions_not_drained", stage, ?partitions, "partitions given up undrained");
            }
            if let Err(error) = commit::partitions(member, &self.shared, partitions) {
                tracing::warn!(code = "commit_failed", stage, ?partitions, %error, "given up without the last commit");
            }
            tracing::info!(code = "partitions_revoked", stage, ?partitions, "partitions given up");
        }
        self.shared.gone(partitions);
    }
}
