//! Where partitions begin: what is asked of the cluster for it.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use telemill_engine::position::Partition;
use telemill_engine::source::ResumeAt;
use thiserror::Error;

use super::cluster::{self, IdentityError};
use super::group::Member;
use super::shared::{Plan, Shared};
use crate::log::begin::lanes;
use crate::log::ledger::Generation;

/// A partition whose beginning the engine has said.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) partition: Partition,
    pub(super) generation: Generation,
    pub(super) resume_at: ResumeAt,
}

/// Why it is not known where to begin.
#[derive(Debug, Error)]
pub(super) enum BeginError {
    /// The cluster does not answer now.
    #[error("{0}")]
    Unavailable(#[from] KafkaError),
    /// There is no good place to begin.
    #[error("{0}")]
    Broken(String),
}

/// What to read of these partitions. Blocks.
pub(super) fn plans(member: &Member, shared: &Shared, ready: &[Ready]) -> Result<Vec<(Partition, Plan)>, BeginError> {
    let setup = &shared.setup;
    match cluster::check_identity(member, setup) {
        Ok(()) => {}
        Err(IdentityError::Unavailable(code)) => return Err(KafkaError::MetadataFetch(code).into()),
        // A broker that has just started may not know every topic yet; the keeper tells when one is really gone.
        Err(IdentityError::Missing(_)) => {
            return Err(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition).into());
        }
        Err(changed) => return Err(BeginError::Broken(changed.to_string())),
    }
    let partitions: Vec<_> = ready.iter().map(|ready| ready.partition).collect();
    let committed = cluster::committed(member, setup, &partitions)?;
    let retained = cluster::retained(member, setup, &partitions)?;
    let plan = |((ready, committed), retained): ((&Ready, _), _)| {
        let (partition, generation) = (ready.partition, ready.generation);
        let safe = shared.safe_before(partition);
        let lanes = lanes(setup, partition, &ready.resume_at, safe, committed, retained);
        Ok((partition, Plan { generation, lanes: lanes.map_err(BeginError::Broken)? }))
    };
    ready.iter().zip(committed).zip(retained).map(plan).collect()
}
