//! The state of a topology in the data directory: claims, slots and checkpoints.
//!
//! Keys and forms are fixed in `docs/formats.md`, "Embedded device store and checkpoints". Every write refuses an epoch
//! lower than the one stored, writes all or nothing, is durable when it is answered, and may be repeated when its answer
//! did not come.

mod checkpoints;
mod claims;
mod json;
mod slots;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use telemill_engine::checkpoint::{
    CheckpointDelta, CheckpointMeta, Claim, Owner, Scope, SessionPage, SlotRecord, StateStore, StoreError,
};
use telemill_engine::context::{BuildContext, CheckContext, Connection};
use telemill_engine::device_id::DeviceId;
use telemill_engine::position::Epoch;
use telemill_engine::registry::StoreComponent;
use telemill_engine::stage::{BuildError, Component};

use super::EmbeddedConnection;
use super::disk::{Disk, DiskError, Space};
use claims::Claims;

/// Epochs, slots and the metas of checkpoints: what is small and read one by one.
const STATE: Space = Space("state");
const SESSIONS: Space = Space("sessions");

/// How long a claim holds without being renewed.
const LEASE: Duration = Duration::from_secs(10);

/// Keeps claims, slots and checkpoints in the data directory.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmbeddedStateSpec {
    /// The `embedded` connection to keep them in.
    pub connection: String,
}

/// [`EmbeddedStateSpec`], proven.
#[derive(Debug)]
pub struct EmbeddedStateConfig {
    connection: Arc<EmbeddedConnection>,
}

/// See the module.
pub struct EmbeddedState {
    disk: Arc<Disk>,
    claims: Arc<Claims>,
    lease: Duration,
}

impl EmbeddedState {
    /// The store in this directory.
    pub fn new(disk: Arc<Disk>) -> Self {
        EmbeddedState { claims: disk.shared::<Claims>(Arc::default), disk, lease: LEASE }
    }

    /// The same with another lease.
    pub fn with_lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }
}

impl Component for EmbeddedState {
    const KIND: &'static str = "embedded";
    const CONNECTION: &'static str = EmbeddedConnection::KIND;
    type Spec = EmbeddedStateSpec;
    type Checked = EmbeddedStateConfig;

    fn check(spec: EmbeddedStateSpec, cx: &mut CheckContext<'_>) -> Option<EmbeddedStateConfig> {
        let connection = cx.connection::<EmbeddedConnection>("connection", &spec.connection)?;
        Some(EmbeddedStateConfig { connection })
    }

    async fn build(checked: &EmbeddedStateConfig, _: &BuildContext) -> Result<Self, BuildError> {
        Ok(EmbeddedState::new(checked.connection.disk().await?))
    }
}

impl StoreComponent for EmbeddedState {
    fn into_store(self) -> Arc<dyn StateStore> {
        Arc::new(self)
    }
}

#[async_trait]
impl StateStore for EmbeddedState {
    async fn claim(&self, topology: &str, owner: &Owner) -> Result<Claim, StoreError> {
        self.claims.claim(&self.disk, self.lease, topology, owner).await
    }

    async fn renew(&self, topology: &str, owner: &Owner, epoch: Epoch) -> Result<(), StoreError> {
        self.claims.renew(&self.disk, self.lease, topology, owner, epoch).await
    }

    async fn release(&self, topology: &str, owner: &Owner, _: Epoch) -> Result<(), StoreError> {
        self.claims.release(topology, owner);
        Ok(())
    }

    async fn load_slot(&self, topology: &str, stage: &str, slot: u16) -> Result<Option<SlotRecord>, StoreError> {
        slots::load(&self.disk, topology, stage, slot).await
    }

    async fn save_slot(
        &self,
        topology: &str,
        stage: &str,
        slot: u16,
        epoch: Epoch,
        record: &SlotRecord,
    ) -> Result<(), StoreError> {
        slots::save(&self.disk, topology, stage, slot, epoch, record).await
    }

    async fn open(&self, scope: &Scope, epoch: Epoch) -> Result<Option<CheckpointMeta>, StoreError> {
        checkpoints::open(&self.disk, scope, epoch).await
    }

    async fn load_live(&self, scope: &Scope, page: Option<u64>) -> Result<SessionPage, StoreError> {
        checkpoints::load_page(&self.disk, scope, checkpoints::LIVE, page).await
    }

    async fn load_passive_page(&self, scope: &Scope, page: Option<u64>) -> Result<SessionPage, StoreError> {
        checkpoints::load_page(&self.disk, scope, checkpoints::PASSIVE, page).await
    }

    async fn number(&self, scope: &Scope) -> Result<u64, StoreError> {
        checkpoints::number(&self.disk, scope).await
    }

    async fn load_passive(&self, scope: &Scope, devices: &[DeviceId]) -> Result<Vec<Option<Bytes>>, StoreError> {
        checkpoints::load_passive(&self.disk, scope, devices).await
    }

    async fn save(&self, scope: &Scope, epoch: Epoch, delta: &CheckpointDelta) -> Result<(), StoreError> {
        checkpoints::save(&self.disk, scope, epoch, delta).await
    }
}

/// What the directory says, as a store says it.
struct Refusal(StoreError);

impl From<DiskError> for Refusal {
    fn from(error: DiskError) -> Self {
        Refusal(match error {
            DiskError::Broken(_) => StoreError::Corrupt(error.to_string()),
            error => StoreError::Unavailable(error.to_string()),
        })
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Refusal(error)
    }
}

impl From<Refusal> for StoreError {
    fn from(refusal: Refusal) -> Self {
        refusal.0
    }
}
