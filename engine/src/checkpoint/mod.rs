//! What survives a restart besides the log: claims, slots, and the checkpoints of keyed state.
//!
//! A checkpoint belongs to a scope, the partition of a source. It is incremental (the sessions changed since the last),
//! atomic with the cursor up to which it holds, and carries its owner's epoch: a store refuses one from a lower epoch
//! than it has seen. Checkpoints of a scope are numbered, and a store takes a delta only onto the one before it: one that
//! was rolled back would else be given changes to sessions that it does not have. The layout in each store is fixed in `docs/formats.md`, "Checkpoints".

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use ulid::Ulid;

use crate::clock::{LogTime, Timestamp};
use crate::device_id::DeviceId;
use crate::position::{Cursor, Epoch, Partition, Position};

/// Whose checkpoint: one partition of one source of one topology.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    /// The topology's name.
    pub topology: Arc<str>,
    /// The source stage's name.
    pub source: Arc<str>,
    /// The source's partition.
    pub partition: Partition,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.topology, self.source, self.partition)
    }
}

/// What a checkpoint holds besides the sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointMeta {
    /// The version of this form.
    pub version: u16,
    /// The running number of the scope's checkpoints, from 1; 0 when there is none, or from before they were numbered.
    #[serde(default)]
    pub number: u64,
    /// Everything up to here is in the sessions, and everything made of it was delivered.
    pub cursor: Cursor,
    /// The shard's own time at the cursor.
    pub log_time: LogTime,
    /// The time of the last mark passed, by slot, and for how long the slot had been alive at it.
    pub marks: Vec<(u16, Timestamp, LogTime)>,
    /// Where the last mark stands: what timers are put down to until the next.
    #[serde(default)]
    pub last_mark: Option<Position>,
    /// For each keyed stage with a journal: the journal's end before anything behind the cursor was emitted.
    pub journals: Vec<(String, i64)>,
    /// The version of each keyed stage's session form, in the order in which they stand in a session's bytes.
    pub stages: Vec<(String, u8)>,
    /// Wall time of the owner when it was written; for people.
    pub saved_at: Timestamp,
}

/// The changes since the last checkpoint of the same scope and owner.
#[derive(Clone, Debug, Default)]
pub struct CheckpointDelta {
    /// The new meta.
    pub meta: CheckpointMeta,
    /// Sessions in memory that changed.
    pub live: Vec<(DeviceId, Bytes)>,
    /// Sessions that left memory.
    pub passivated: Vec<(DeviceId, Bytes)>,
    /// Sessions that are gone for good.
    pub forgotten: Vec<DeviceId>,
}

impl CheckpointDelta {
    /// Whether it may be written where the checkpoint of this number is, none being 0.
    pub fn fits(&self, stored: u64) -> Result<(), StoreError> {
        let number = self.meta.number;
        // Its own number: it was written, and the answer was lost.
        match stored == number || stored.checked_add(1) == Some(number) {
            true => Ok(()),
            false => Err(StoreError::RolledBack { number, stored }),
        }
    }
}

/// A page of a checkpoint's sessions.
#[derive(Clone, Debug, Default)]
pub struct SessionPage {
    /// Device and session bytes.
    pub sessions: Vec<(DeviceId, Bytes)>,
    /// Where the next page begins; none after the last.
    pub next: Option<u64>,
}

/// Who claims a topology.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Unique to this process' life.
    pub instance: Ulid,
    /// The host's name.
    pub host: String,
    /// The process id on that host.
    pub pid: u32,
}

/// An exclusive claim on a topology, to be renewed before `lease` has passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The owner's running number.
    pub epoch: Epoch,
    /// How long it holds without being renewed.
    pub lease: Duration,
}

/// A slot's MQTT session as last written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotRecord {
    /// The incarnation of the broker session.
    pub slot_session: Ulid,
    /// The filters it subscribes to.
    pub filters: Vec<String>,
    /// Whether SUBACK was seen for all of them.
    pub subscribed: bool,
}

/// What a store can answer besides yes.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Not now; the outcome of a write is unknown and it is to be repeated.
    #[error("{0}")]
    Unavailable(String),
    /// Somebody with a higher epoch owns it: stop at once.
    #[error("epoch {ours} was superseded by epoch {theirs}: another instance owns this topology now")]
    Fenced {
        /// The epoch that was refused.
        ours: Epoch,
        /// The epoch that the store has.
        theirs: Epoch,
    },
    /// Somebody holds the claim, and is alive.
    #[error("topology is held by {} (pid {} on {}); stop that instance first", .0.instance, .0.pid, .0.host)]
    Held(Owner),
    /// The store was rolled back: the checkpoint that the delta builds on is not there. What it has is to be read again.
    #[error("checkpoint {number} cannot be written onto {stored}: the state store was rolled back")]
    RolledBack {
        /// The number of the delta that was refused.
        number: u64,
        /// The number of the checkpoint that is there.
        stored: u64,
    },
    /// What is stored cannot be read.
    #[error("{0}")]
    Corrupt(String),
}

/// The store of claims, slots and checkpoints of a topology.
#[async_trait]
pub trait StateStore: Send + Sync {
    /// Takes the claim if it is free, expired, or held by a process of this host that is no more.
    async fn claim(&self, topology: &str, owner: &Owner) -> Result<Claim, StoreError>;
    /// Prolongs a claim; one that has expired meanwhile is taken again as long as nobody else took it.
    async fn renew(&self, topology: &str, owner: &Owner, epoch: Epoch) -> Result<(), StoreError>;
    /// Gives a claim up.
    async fn release(&self, topology: &str, owner: &Owner, epoch: Epoch) -> Result<(), StoreError>;

    /// A slot's record, if there is one.
    async fn load_slot(&self, topology: &str, stage: &str, slot: u16) -> Result<Option<SlotRecord>, StoreError>;
    /// Writes a slot's record; durable when it returns.
    async fn save_slot(
        &self,
        topology: &str,
        stage: &str,
        slot: u16,
        epoch: Epoch,
        record: &SlotRecord,
    ) -> Result<(), StoreError>;

    /// The meta of a scope's checkpoint, if there is one; takes the scope over for `epoch`.
    async fn open(&self, scope: &Scope, epoch: Epoch) -> Result<Option<CheckpointMeta>, StoreError>;
    /// A page of the live sessions; `None` for the first.
    async fn load_live(&self, scope: &Scope, page: Option<u64>) -> Result<SessionPage, StoreError>;
    /// A page of the passivated sessions; `None` for the first.
    async fn load_passive_page(&self, scope: &Scope, page: Option<u64>) -> Result<SessionPage, StoreError>;
    /// The number of a scope's checkpoint; 0 when there is none, or when it has none. Asked for behind sessions that were
    /// read, it tells whether they are of the checkpoint that they are taken for.
    async fn number(&self, scope: &Scope) -> Result<u64, StoreError>;
    /// The passivated sessions of these devices, in order; `None` where there is none.
    async fn load_passive(&self, scope: &Scope, devices: &[DeviceId]) -> Result<Vec<Option<Bytes>>, StoreError>;
    /// Writes a delta, atomically with its meta, onto the checkpoint whose number is one lower, or once more onto itself. A
    /// session in `live` is no longer passive and the other way round.
    async fn save(&self, scope: &Scope, epoch: Epoch, delta: &CheckpointDelta) -> Result<(), StoreError>;
}

/// No store: what the store itself is built with. Everything asked of it is unavailable.
#[derive(Clone, Copy, Debug)]
pub struct NoStore;

impl NoStore {
    fn unavailable<T>(self) -> Result<T, StoreError> {
        Err(StoreError::Unavailable("there is no state store here".to_owned()))
    }
}

#[async_trait]
impl StateStore for NoStore {
    async fn claim(&self, _: &str, _: &Owner) -> Result<Claim, StoreError> {
        self.unavailable()
    }
    async fn renew(&self, _: &str, _: &Owner, _: Epoch) -> Result<(), StoreError> {
        self.unavailable()
    }
    async fn release(&self, _: &str, _: &Owner, _: Epoch) -> Result<(), StoreError> {
        self.unavailable()
    }
    async fn load_slot(&self, _: &str, _: &str, _: u16) -> Result<Option<SlotRecord>, StoreError> {
        self.unavailable()
    }
    async fn save_slot(&self, _: &str, _: &str, _: u16, _: Epoch, _: &SlotRecord) -> Result<(), StoreError> {
        self.unavailable()
    }
    async fn open(&self, _: &Scope, _: Epoch) -> Result<Option<CheckpointMeta>, StoreError> {
        self.unavailable()
    }
    async fn load_live(&self, _: &Scope, _: Option<u64>) -> Result<SessionPage, StoreError> {
        self.unavailable()
    }
    async fn load_passive_page(&self, _: &Scope, _: Option<u64>) -> Result<SessionPage, StoreError> {
        self.unavailable()
    }
    async fn number(&self, _: &Scope) -> Result<u64, StoreError> {
        self.unavailable()
    }
    async fn load_passive(&self, _: &Scope, _: &[DeviceId]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.unavailable()
    }
    async fn save(&self, _: &Scope, _: Epoch, _: &CheckpointDelta) -> Result<(), StoreError> {
        self.unavailable()
    }
}
