//! Questions to the cluster, each one request for all partitions at once. They block, for a bounded time.

use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use telemill_engine::position::{Partition, TopicId};
use thiserror::Error;

use super::group::Member;
use super::resume::Retained;
use super::setup::{Setup, Topic};
use crate::kafka::topics::identities;

const TIMEOUT: Duration = Duration::from_secs(5);

/// An offset that the group committed, with the metadata that stands beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Committed {
    pub(super) offset: i64,
    pub(super) metadata: String,
}

/// Why the topics are not what they were.
#[derive(Debug, Error)]
pub(super) enum IdentityError {
    #[error("{0}")]
    Unavailable(RDKafkaErrorCode),
    #[error("topic `{0}` does not exist any more; order and completeness cannot be kept without it")]
    Missing(String),
    #[error(
        "topic `{name}` was deleted and made again (its id was {was} and is {is}); its offsets mean something else now: \
         start with a new group and empty stores, or give it another name"
    )]
    Recreated { name: String, was: String, is: String },
    #[error(
        "topic `{name}` has {is} partitions and had {was}; devices are in other partitions now, and their order is \
         broken: move to a new topic instead"
    )]
    Repartitioned { name: String, was: i32, is: i32 },
}

/// What the group committed, partition by partition, topic by topic; `None` where it has not.
pub(super) fn committed(
    member: &Member,
    setup: &Setup,
    partitions: &[Partition],
) -> KafkaResult<Vec<Vec<Option<Committed>>>> {
    let answered = member.committed_offsets(list(setup, partitions, Offset::Invalid)?, TIMEOUT)?;
    each(&answered, setup, |element| match element.offset() {
        Offset::Offset(offset) => Some(Committed { offset, metadata: element.metadata().to_owned() }),
        _ => None,
    })
}

/// What the log retains, partition by partition, topic by topic.
pub(super) fn retained(member: &Member, setup: &Setup, partitions: &[Partition]) -> KafkaResult<Vec<Vec<Retained>>> {
    let lows = offsets(member, setup, partitions, Offset::Beginning)?;
    let highs = offsets(member, setup, partitions, Offset::End)?;
    let retained = |(lows, highs): (Vec<i64>, Vec<i64>)| {
        lows.into_iter().zip(highs).map(|(low, high)| Retained { low, high }).collect()
    };
    Ok(lows.into_iter().zip(highs).map(retained).collect())
}

/// The ends of the log, partition by partition, topic by topic.
pub(super) fn ends(member: &Member, setup: &Setup, partitions: &[Partition]) -> KafkaResult<Vec<Vec<i64>>> {
    offsets(member, setup, partitions, Offset::End)
}

/// Whether the topics are the ones that the source was built with.
pub(super) fn check_identity(member: &Member, setup: &Setup) -> Result<(), IdentityError> {
    let names: Vec<_> = setup.topics.iter().map(|topic| &*topic.name).collect();
    let found = identities(&setup.connection, member.client(), &names, TIMEOUT).map_err(IdentityError::Unavailable)?;
    let compare = |(topic, found): (&Topic, Option<(TopicId, i32)>)| {
        let name = topic.name.to_string();
        match found {
            None => Err(IdentityError::Missing(name)),
            Some((id, _)) if id != topic.id => {
                Err(IdentityError::Recreated { name, was: topic.id.to_string(), is: id.to_string() })
            }
            Some((_, is)) if is != setup.partitions => {
                Err(IdentityError::Repartitioned { name, was: setup.partitions, is })
            }
            Some(_) => Ok(()),
        }
    };
    setup.topics.iter().zip(found).try_for_each(compare)
}

/// The client library asks the brokers for a "time" that stands for the beginning or the end.
fn offsets(member: &Member, setup: &Setup, partitions: &[Partition], which: Offset) -> KafkaResult<Vec<Vec<i64>>> {
    let answered = member.offsets_for_times(list(setup, partitions, which)?, TIMEOUT)?;
    let offsets = each(&answered, setup, |element| match element.offset() {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    })?;
    let complete = offsets.into_iter().map(|offsets| offsets.into_iter().collect::<Option<Vec<_>>>());
    complete.collect::<Option<_>>().ok_or(KafkaError::OffsetFetch(RDKafkaErrorCode::NoOffset))
}

fn list(setup: &Setup, partitions: &[Partition], offset: Offset) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(partitions.len() * setup.topics.len());
    for partition in partitions {
        for topic in &setup.topics {
            list.add_partition_offset(&topic.name, *partition, offset)?;
        }
    }
    Ok(list)
}

type Element<'a> = rdkafka::topic_partition_list::TopicPartitionListElem<'a>;

fn each<T>(answered: &TopicPartitionList, setup: &Setup, read: impl Fn(&Element<'_>) -> T) -> KafkaResult<Vec<Vec<T>>> {
    let read = |element: &Element<'_>| element.error().map(|()| read(element));
    let elements = answered.elements();
    elements.chunks(setup.topics.len()).map(|chunk| chunk.iter().map(read).collect()).collect()
}
