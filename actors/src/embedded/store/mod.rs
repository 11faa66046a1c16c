//! The sink that keeps each device's last state and history in the data directory, and tells those who listen.
//!
//! What is written, key by key, is fixed in `docs/formats.md`, "Embedded device store and checkpoints". A batch is one
//! write: it checks the guard of its partition, applies what the guard does not have, and moves the guard, all or nothing,
//! and is answered once it is durable. So a batch that is submitted again, in part or whole, after whatever failure, has
//! one effect; one that would leave a gap is refused; and an owner that was superseded writes nothing.
//!
//! Several batches are in flight, and the directory takes them in the order of submission. When one fails, those behind
//! it are refused by the guard, and further ones by the sink itself until all in flight have been answered. Records
//! without a position (they come from no log) have no guard, and are written one batch at a time: in order, and at least
//! once.
//!
//! What a history may take is bounded by time, for each device, and by bytes, for all together (`sweep`, `trim`, `weight`).
//!
//! Updates are given out once the batch is durable, in order, to those who listen in this process.

mod apply;
mod devices;
mod entry;
mod guard;
mod hub;
mod page;
mod sweep;
mod trim;
mod weight;

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use telemill_engine::batch::Batch;
use telemill_engine::clock::Clock;
use telemill_engine::context::{BuildContext, CheckContext, Connection};
use telemill_engine::faults;
use telemill_engine::position::{Cursor, Epoch, Partition};
use telemill_engine::sink::{Completion, Sink, Submitted};
use telemill_engine::stage::{BuildError, Component, StageError};
use telemill_engine::topology::{ByteSize, HumanDuration};
use thiserror::Error;

use super::EmbeddedConnection;
use super::disk::{Disk, DiskError};
use crate::device_store::flight::{self, Flight};
use crate::device_store::{is_guarded, settings};
use apply::Applying;
use devices::Devices;
use entry::Retention;
use guard::GuardKey;
use hub::Hub;
use sweep::Sweep;

/// Keeps each device's last state and history in the data directory, and gives each record out to those who listen.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmbeddedWriterSpec {
    /// The `embedded` connection to write to.
    pub connection: String,
    /// How far back a device's history reaches, in whole seconds; also how long it stays once the device falls silent.
    /// `history_size` may make it shorter.
    #[serde(default = "settings::default_history")]
    pub history: HumanDuration,
    /// The most that the histories of all devices may take together, keys and messages, 1 MiB or more; beyond it the oldest
    /// goes first. Without it only `history` bounds them.
    #[serde(default)]
    pub history_size: Option<ByteSize>,
    /// How many batches may be on their way at once, 1 to 32.
    #[serde(default = "settings::default_window")]
    pub window: usize,
}

/// [`EmbeddedWriterSpec`], proven.
#[derive(Debug)]
pub struct EmbeddedWriterConfig {
    connection: Arc<EmbeddedConnection>,
    history: Duration,
    history_size: Option<u64>,
    window: usize,
}

/// Below it a cut would take what has just come.
const LEAST_HISTORY_SIZE: u64 = 1 << 20;

/// See the module.
pub struct EmbeddedWriter {
    disk: Arc<Disk>,
    hub: Arc<Hub>,
    topology: Arc<str>,
    stage: Arc<str>,
    clock: Clock,
    epoch: Epoch,
    retention: Retention,
    window: usize,
    flight: Flight,
    _sweep: Sweep,
}

impl Component for EmbeddedWriter {
    const KIND: &'static str = "redis_writer";
    const CONNECTION: &'static str = EmbeddedConnection::KIND;
    type Spec = EmbeddedWriterSpec;
    type Checked = EmbeddedWriterConfig;

    fn check(spec: EmbeddedWriterSpec, cx: &mut CheckContext<'_>) -> Option<EmbeddedWriterConfig> {
        let history = settings::check(spec.history, spec.window, "4 keeps the disk busy", cx);
        let history_size = spec.history_size.map(u64::from);
        let has_room = history_size.is_none_or(|size| size >= LEAST_HISTORY_SIZE);
        if !has_room {
            let hint = "write a size such as 1GiB, or leave it out";
            cx.problem("history_size", "redis_writer::bad_history_size", "history_size is to be 1 MiB or more", hint);
        }
        let connection = cx.connection::<EmbeddedConnection>("connection", &spec.connection)?;
        has_room.then_some(EmbeddedWriterConfig { connection, history: history?, history_size, window: spec.window })
    }

    async fn build(checked: &EmbeddedWriterConfig, cx: &BuildContext) -> Result<Self, BuildError> {
        let disk = checked.connection.disk().await?;
        let hub = disk.shared::<Hub>(Arc::default);
        if checked.history_size.is_some() {
            weight::ensure(&disk).await?;
        }
        let retention = Retention::new(checked.history);
        cx.ports.offer_device_store(Arc::new(Devices::new(disk.clone(), hub.clone(), cx.clock.clone())));
        Ok(EmbeddedWriter {
            _sweep: Sweep::start(disk.clone(), cx, retention, checked.history_size),
            disk,
            hub,
            topology: cx.topology.clone(),
            stage: cx.stage.clone(),
            clock: cx.clock.clone(),
            epoch: cx.epoch,
            retention,
            window: checked.window,
            flight: Flight::default(),
        })
    }
}

impl Sink for EmbeddedWriter {
    fn window(&self) -> usize {
        self.window
    }

    async fn submit(&mut self, batch: Arc<Batch>) -> Completion {
        faults::point("store.before_write");
        if batch.is_empty() {
            return flight::answered(Submitted::Delivered);
        }
        let Some(turn) = self.flight.enter() else {
            return flight::answered(flight::out_of_turn());
        };
        let is_guarded = is_guarded(&batch);
        let applying = Applying {
            guard: is_guarded.then(|| self.guard(batch.partition)),
            batch,
            epoch: self.epoch,
            retention: self.retention,
            now: self.clock.now().as_secs(),
            hub: self.hub.clone(),
        };
        match self.disk.enqueue(move |tx| applying.apply(tx)).await {
            Ok(written) if is_guarded => Box::pin(async move { turn.judge(submitted(written.await)) }),
            // Without a guard nothing but its own end keeps the next one from overtaking it.
            Ok(written) => turn.answered(submitted(written.await)),
            Err(error) => turn.answered(submitted(Err(error.into()))),
        }
    }

    async fn resume(&mut self, partition: Partition) -> Result<Option<Cursor>, StageError> {
        let guard = self.guard(partition);
        let epoch = self.epoch;
        let taken = self.disk.write(move |tx| guard.take_over(tx, epoch)).await;
        taken.map(Some).map_err(|refusal: Refusal| match refusal {
            Refusal::Disk(error) if !error.is_final() => {
                StageError::Retry { reason: error.reason(), detail: error.to_string(), after: None }
            }
            refusal => StageError::Fatal(refusal.to_string()),
        })
    }
}

impl EmbeddedWriter {
    fn guard(&self, partition: Partition) -> GuardKey {
        GuardKey { topology: self.topology.clone(), stage: self.stage.clone(), partition }
    }
}

/// Why a batch was not applied. Nothing of it was written.
#[derive(Debug, Error)]
enum Refusal {
    #[error("epoch {ours} was superseded by epoch {theirs} in {guard}: another instance writes this partition now")]
    Fenced { guard: GuardKey, ours: Epoch, theirs: Epoch },
    #[error("{guard} has {stored} of topic {topic}, but the batch follows {previous}")]
    Gap { guard: GuardKey, topic: String, stored: String, previous: String },
    #[error("{0}")]
    Unreadable(String),
    #[error("{0}")]
    Disk(#[from] DiskError),
}

impl From<Refusal> for BuildError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Disk(error) => error.into(),
            refusal => BuildError::Impossible(refusal.to_string()),
        }
    }
}

fn submitted(written: Result<(), Refusal>) -> Submitted {
    match written {
        Ok(()) => Submitted::Delivered,
        Err(refusal @ Refusal::Gap { .. }) => Submitted::Gap { detail: refusal.to_string() },
        Err(Refusal::Disk(error)) if !error.is_final() => {
            Submitted::Retry { reason: error.reason(), detail: error.to_string(), after: None }
        }
        Err(refusal) => Submitted::Fatal(refusal.to_string()),
    }
}
