//! The running engine: mailboxes, stage actors, shards, supervision, deployment.
//!
//! Only this module names actix. An actor is a thin shell around a cell ([`cell`]), which holds everything that must
//! survive the actor; the supervisor starts a new actor with the same cell.

mod ack_book;
mod cell;
mod claim;
mod dead_letters;
mod deploy;
mod deployment;
mod directory;
mod flight;
mod forgets;
mod given_up;
mod host;
mod mailbox;
mod outlet;
mod placement;
mod processor_cell;
mod restart;
mod shard;
mod shards;
mod sink_cell;
mod source_cell;
mod stage_actor;
mod status;
mod supervisor;

#[cfg(test)]
pub(crate) use dead_letters::dead;
#[cfg(any(test, feature = "testing"))]
pub(crate) use given_up::source_of;
#[cfg(any(test, fuzzing, feature = "testing"))]
pub(crate) use shard::session_form_holds;

pub use cell::StageLimits;
pub use deploy::{DEAD_LETTERS, DeployError, Environment, begin, deploy};
pub use deployment::{Deployment, DeploymentView, Ended, Member, StageReport};
pub use directory::Directory;
pub use host::{KeyedHost, StepFailure, host};
pub use mailbox::{Capacity, Closed, Delivery, Mailbox, MailboxSender, Room, mailbox};
pub use placement::{Arbiters, Placement};
pub use restart::{Decision, RestartPolicy, RestartTracker};
pub use shard::TimeMode;
pub use status::{StageState, StageStatus};
pub use supervisor::{DEFAULT_DRAIN_DEADLINE, TopologyState};
