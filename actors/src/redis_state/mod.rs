//! The state of a topology in Redis: claims, slots and checkpoints.
//!
//! Keys and forms are fixed in `docs/formats.md`, "Claims and epochs", "MQTT sessions and redelivery" and
//! "Checkpoints". Every write is one script that refuses an epoch lower than the one stored, and writes all or nothing;
//! all of them may be repeated when their answer did not come.
//!
//! How durable a write is when it returns is the server's setting (`appendfsync`).

mod checkpoints;
mod claims;
mod slots;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use redis::{Script, Value};
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

use crate::redis::{Answer, Failure, FailureKind, Link, RedisConnection};

/// How long a claim holds without being renewed.
const LEASE: Duration = Duration::from_secs(10);

/// Keeps claims, slots and checkpoints in Redis.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedisStateSpec {
    /// The `redis` connection to keep them in.
    pub connection: String,
}

/// [`RedisStateSpec`], proven.
#[derive(Debug)]
pub struct RedisStateConfig {
    connection: Arc<RedisConnection>,
}

/// See the module.
pub struct RedisState {
    link: Link,
    lease: Duration,
}

impl RedisState {
    /// A store on this server, which is connected to when it is first used.
    pub fn new(connection: Arc<RedisConnection>) -> Self {
        RedisState { link: Link::new(connection, crate::redis::no_scripts()), lease: LEASE }
    }

    /// The same with another lease.
    pub fn with_lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }
}

impl Component for RedisState {
    const KIND: &'static str = "redis";
    const CONNECTION: &'static str = RedisConnection::KIND;
    type Spec = RedisStateSpec;
    type Checked = RedisStateConfig;

    fn check(spec: RedisStateSpec, cx: &mut CheckContext<'_>) -> Option<RedisStateConfig> {
        let connection = cx.connection::<RedisConnection>("connection", &spec.connection)?;
        Some(RedisStateConfig { connection })
    }

    async fn build(checked: &RedisStateConfig, _: &BuildContext) -> Result<Self, BuildError> {
        let state = RedisState::new(checked.connection.clone());
        state.link.get().await?;
        Ok(state)
    }
}

impl StoreComponent for RedisState {
    fn into_store(self) -> Arc<dyn StateStore> {
        Arc::new(self)
    }
}

#[async_trait]
impl StateStore for RedisState {
    async fn claim(&self, topology: &str, owner: &Owner) -> Result<Claim, StoreError> {
        claims::claim(&self.link, self.lease, topology, owner).await
    }

    async fn renew(&self, topology: &str, owner: &Owner, epoch: Epoch) -> Result<(), StoreError> {
        claims::renew(&self.link, self.lease, topology, owner, epoch).await
    }

    async fn release(&self, topology: &str, owner: &Owner, _: Epoch) -> Result<(), StoreError> {
        claims::release(&self.link, topology, owner).await
    }

    async fn load_slot(&self, topology: &str, stage: &str, slot: u16) -> Result<Option<SlotRecord>, StoreError> {
        slots::load(&self.link, topology, stage, slot).await
    }

    async fn save_slot(
        &self,
        topology: &str,
        stage: &str,
        slot: u16,
        epoch: Epoch,
        record: &SlotRecord,
    ) -> Result<(), StoreError> {
        slots::save(&self.link, topology, stage, slot, epoch, record).await
    }

    async fn open(&self, scope: &Scope, epoch: Epoch) -> Result<Option<CheckpointMeta>, StoreError> {
        checkpoints::open(&self.link, scope, epoch).await
    }

    async fn load_live(&self, scope: &Scope, page: Option<u64>) -> Result<SessionPage, StoreError> {
        checkpoints::load_page(&self.link, scope, "live", page).await
    }

    async fn load_passive_page(&self, scope: &Scope, page: Option<u64>) -> Result<SessionPage, StoreError> {
        checkpoints::load_page(&self.link, scope, "passive", page).await
    }

    async fn number(&self, scope: &Scope) -> Result<u64, StoreError> {
        checkpoints::number(&self.link, scope).await
    }

    async fn load_passive(&self, scope: &Scope, devices: &[DeviceId]) -> Result<Vec<Option<Bytes>>, StoreError> {
        checkpoints::load_passive(&self.link, scope, devices).await
    }

    async fn save(&self, scope: &Scope, epoch: Epoch, delta: &CheckpointDelta) -> Result<(), StoreError> {
        checkpoints::save(&self.link, scope, epoch, delta).await
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure.kind {
            FailureKind::WrongType => StoreError::Corrupt(failure.detail),
            _ => StoreError::Unavailable(failure.detail),
        }
    }
}

/// Runs a script of this store. Its answer is what is asked for, not a refusal.
async fn run(
    link: &Link,
    script: &LazyLock<Script>,
    keys: &[&str],
    args: &[&[u8]],
    epoch: Epoch,
) -> Result<Answer, StoreError> {
    let value: Value = link.run(script, keys, args).await?;
    let answer = Answer::new(value).map_err(StoreError::Corrupt)?;
    match answer.word() {
        "fenced" => {
            let theirs = Epoch(u64::try_from(answer.number(0)).unwrap_or_default());
            Err(StoreError::Fenced { ours: epoch, theirs })
        }
        "rolled_back" => {
            let [number, stored] = [0, 1].map(|index| u64::try_from(answer.number(index)).unwrap_or_default());
            Err(StoreError::RolledBack { number, stored })
        }
        "version" => Err(StoreError::Corrupt(format!(
            "`{}` has version {}, and this program knows version 1 only: it was written by a newer one",
            keys[0],
            answer.text(0)
        ))),
        _ => Ok(answer),
    }
}
