//! What components offer each other and the API without knowing each other.
//!
//! A component registers what it can do when it is built; whoever needs it asks by stage name or takes the only one.
//! The connectors stay on their side of the fence: the engine and the HTTP API see these traits alone.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use thiserror::Error;
use ulid::Ulid;

use crate::clock::Timestamp;
use crate::device_id::DeviceId;
use crate::position::Partition;
use crate::record::{EventId, Origin, Record};

/// Why a port could not answer.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct PortError(pub String);

/// A production of an MQTT slot-session that is durable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Taken {
    /// Where it came from.
    pub origin: Origin,
    /// The stage that gave it up, of a dead letter.
    pub given_up_by: Option<Arc<str>>,
}

/// What a sink has durably taken from an MQTT slot-session. Read before a slot connects.
#[async_trait]
pub trait Recall: Send + Sync {
    /// The newest productions of this slot-session: at least the last `limit` of them that this sink holds, in any
    /// order.
    async fn recall(&self, slot: u16, slot_session: Ulid, limit: usize) -> Result<Vec<Taken>, PortError>;
}

/// A record that a stage gave up, as its dead letter has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// The record's identity.
    pub id: EventId,
    /// The stage that gave it up.
    pub stage: Arc<str>,
    /// Where it came from, as [`crate::record::DeadReason::source`].
    pub source: Bytes,
}

/// How far the dead letters were read: of each partition of their topic the offset behind the last letter.
pub type LetterEnds = Vec<i64>;

/// The dead letters, read back.
#[async_trait]
pub trait Letters: Send + Sync {
    /// What stages of this topology gave up, in any order, behind what was `read` before (nothing, or what an earlier call
    /// gave), and how far that is: of the newest `limit` letters, evenly over the partitions, those included that were
    /// handed over before the call.
    async fn given_up(
        &self,
        topology: &str,
        read: &LetterEnds,
        limit: usize,
    ) -> Result<(Vec<GivenUp>, LetterEnds), PortError>;
}

/// A log that a keyed stage writes its transitions to and reads back after a restart.
#[async_trait]
pub trait Journal: Send + Sync {
    /// The offset behind the last record of this partition known to be durable; what is emitted from now on will not
    /// stand before it.
    async fn end(&self, partition: Partition) -> Result<i64, PortError>;
    /// The records of a partition from an offset to the present end.
    async fn read(&self, partition: Partition, from: i64) -> Result<Vec<Record>, PortError>;
}

/// The last state of a device as a store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastState {
    /// The device's own JSON.
    pub payload: Bytes,
    /// Seconds since the Unix epoch.
    pub timestamp: u64,
}

/// What a subscriber of a device's updates hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// A record was written: the whole message.
    Written(Bytes),
    /// The subscriber was too slow, and so many messages are missing here.
    Missed(u64),
}

/// The updates of a device, as they come. An error is the last thing that is heard.
pub type Updates = BoxStream<'static, Result<Update, PortError>>;

/// A store that the API reads devices from.
#[async_trait]
pub trait DeviceStore: Send + Sync {
    /// The last state of a device, if it has one.
    async fn last_state(&self, device: &DeviceId) -> Result<Option<LastState>, PortError>;
    /// The messages of a device with `from ≤ timestamp ≤ to` (seconds), in (timestamp, event_id) order, the newest
    /// `limit` of them.
    async fn history(&self, device: &DeviceId, from: u64, to: u64, limit: usize) -> Result<Vec<Bytes>, PortError>;
    /// Every message of a device that is written from when this returns on, in order, until the stream is dropped.
    /// What a slow reader is behind by is bounded: it is told how many messages it missed.
    async fn updates(&self, device: &DeviceId) -> Result<Updates, PortError>;
}

/// An entry of the alert log.
#[derive(Clone, Debug)]
pub struct AlertEntry {
    /// A cursor to go on from: the `id:` of a server-sent event.
    pub cursor: String,
    /// The transition as JSON.
    pub body: Bytes,
}

/// The cursor before everything that an alert log retains.
pub const FROM_THE_BEGINNING: &str = "beginning";

/// Why an alert log cannot be followed.
#[derive(Debug, Error)]
pub enum FollowError {
    /// What was given is no cursor of this log; why, for a person.
    #[error("{0}")]
    BadCursor(String),
    /// The log is not there.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// Transitions as they are read.
pub type AlertEntries = BoxStream<'static, Result<AlertEntry, PortError>>;

/// The log of alert transitions: every stream is a cursor on it.
#[async_trait]
pub trait AlertLog: Send + Sync {
    /// Transitions behind `after` (a cursor that an entry gave, or [`FROM_THE_BEGINNING`]), or from now on, for as long as
    /// the stream is read.
    async fn follow(&self, after: Option<&str>) -> Result<AlertEntries, FollowError>;
}

/// A command on its way into the log.
#[derive(Clone, Debug)]
pub struct Command {
    /// Its identity, given back to the caller.
    pub id: EventId,
    /// Whom it is for.
    pub device: DeviceId,
    /// The JSON that the device is to get.
    pub body: Bytes,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// How long it may wait for an offline device; none: only if online.
    pub ttl: Option<Duration>,
}

/// The log that commands go through.
#[async_trait]
pub trait CommandLog: Send + Sync {
    /// Returns once the command is durable.
    async fn append(&self, command: Command) -> Result<(), PortError>;
}

#[derive(Default)]
struct Offered {
    recalls: BTreeMap<Arc<str>, Arc<dyn Recall>>,
    letters: Option<Arc<dyn Letters>>,
    journals: BTreeMap<Arc<str>, Arc<dyn Journal>>,
    device_store: Option<Arc<dyn DeviceStore>>,
    alert_logs: BTreeMap<Arc<str>, Arc<dyn AlertLog>>,
    command_log: Option<Arc<dyn CommandLog>>,
}

/// The ports of one running topology.
#[derive(Clone, Default)]
pub struct Ports(Arc<Mutex<Offered>>);

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ports")
    }
}

impl Ports {
    fn with<T>(&self, f: impl FnOnce(&mut Offered) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Offers what a sink stage has taken.
    pub fn offer_recall(&self, stage: &Arc<str>, recall: Arc<dyn Recall>) {
        self.with(|o| o.recalls.insert(stage.clone(), recall));
    }

    /// What the named sink stage has taken, if it can tell.
    pub fn recall(&self, stage: &str) -> Option<Arc<dyn Recall>> {
        self.with(|o| o.recalls.get(stage).cloned())
    }

    /// Offers to read the dead letters back.
    pub fn offer_letters(&self, letters: Arc<dyn Letters>) {
        self.with(|o| o.letters = Some(letters));
    }

    /// The dead letters, if they can be read back.
    pub fn letters(&self) -> Option<Arc<dyn Letters>> {
        self.with(|o| o.letters.clone())
    }

    /// Offers the log that a sink stage writes as a journal.
    pub fn offer_journal(&self, stage: &Arc<str>, journal: Arc<dyn Journal>) {
        self.with(|o| o.journals.insert(stage.clone(), journal));
    }

    /// The journal that the named sink stage writes.
    pub fn journal(&self, stage: &str) -> Option<Arc<dyn Journal>> {
        self.with(|o| o.journals.get(stage).cloned())
    }

    /// Offers the store of last states and history.
    pub fn offer_device_store(&self, store: Arc<dyn DeviceStore>) {
        self.with(|o| o.device_store = Some(store));
    }

    /// The store of last states and history.
    pub fn device_store(&self) -> Option<Arc<dyn DeviceStore>> {
        self.with(|o| o.device_store.clone())
    }

    /// Offers to read what a sink stage writes as a log of alert transitions. Whether it is one depends on what feeds
    /// the stage, which the engine knows.
    pub fn offer_alert_log(&self, stage: &Arc<str>, log: Arc<dyn AlertLog>) {
        self.with(|o| o.alert_logs.insert(stage.clone(), log));
    }

    /// What the named sink stage writes, read as a log of alert transitions.
    pub fn alert_log(&self, stage: &str) -> Option<Arc<dyn AlertLog>> {
        self.with(|o| o.alert_logs.get(stage).cloned())
    }

    /// Offers the log of commands.
    pub fn offer_command_log(&self, log: Arc<dyn CommandLog>) {
        self.with(|o| o.command_log = Some(log));
    }

    /// The log of commands.
    pub fn command_log(&self) -> Option<Arc<dyn CommandLog>> {
        self.with(|o| o.command_log.clone())
    }
}
