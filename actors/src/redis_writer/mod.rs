//! The sink that keeps each device's last state and history in Redis, and notifies of each record.
//!
//! What is written, key by key, is fixed in `docs/formats.md`, "Redis". A batch is one script: it checks the guard of
//! its partition, applies what the guard does not have, and moves the guard, all or nothing. So a batch that is
//! submitted again, in part or whole, after whatever failure, has one effect; one that would leave a gap is refused; and
//! an owner that was superseded writes nothing.
//!
//! Which records are written: every one but marks, commands, dead letters, and keep-alives whose payload says nothing
//! (`null`). Those only move the guard.
//!
//! Several batches are in flight on one connection, and the server runs them in the order of sending. When one fails,
//! those behind it are refused by the guard, and further ones by the sink itself until all in flight have been answered.
//!
//! Records without a position (they come from no log) are written without a guard, one batch at a time: in order, and
//! at least once.

mod answer;
mod arguments;
mod devices;
mod presence;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::Poll;

use futures_util::future::BoxFuture;
use futures_util::poll;
use redis::Script;
use schemars::JsonSchema;
use serde::Deserialize;
use telemill_engine::batch::Batch;
use telemill_engine::context::{BuildContext, CheckContext, Connection};
use telemill_engine::faults;
use telemill_engine::position::{Cursor, Epoch, Partition};
use telemill_engine::sink::{Completion, Sink, Submitted};
use telemill_engine::stage::{BuildError, Component, StageError};
use telemill_engine::topology::HumanDuration;

use crate::device_store::flight::{self, Flight};
use crate::device_store::{is_guarded, settings};
use crate::redis::{FailureKind, Link, Live, RedisConnection, no_scripts, size};
use arguments::Arguments;
use devices::Devices;
use presence::Presence;

static APPLY: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("apply.lua")));
static RESUME: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("resume.lua")));
static SCRIPTS: [&LazyLock<Script>; 2] = [&APPLY, &RESUME];

/// Keeps each device's last state and history in Redis, and publishes each record to the device's channel.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedisWriterSpec {
    /// The `redis` connection to write to.
    pub connection: String,
    /// How far back a device's history reaches, in whole seconds; also how long it stays once the device falls silent.
    #[serde(default = "settings::default_history")]
    pub history: HumanDuration,
    /// How many batches may be on their way at once, 1 to 32.
    #[serde(default = "settings::default_window")]
    pub window: usize,
}

/// [`RedisWriterSpec`], proven.
#[derive(Debug)]
pub struct RedisWriterConfig {
    connection: Arc<RedisConnection>,
    history_secs: u64,
    window: usize,
}

/// See the module.
pub struct RedisWriter {
    link: Arc<Link>,
    topology: Arc<str>,
    stage: Arc<str>,
    epoch: Epoch,
    history_secs: u64,
    window: usize,
    arguments: Arguments,
    flight: Flight,
    /// The bytes that were sent and not answered.
    unanswered: Arc<AtomicUsize>,
    /// Held for what it does.
    _presence: Presence,
}

impl Component for RedisWriter {
    const KIND: &'static str = "redis_writer";
    const CONNECTION: &'static str = RedisConnection::KIND;
    type Spec = RedisWriterSpec;
    type Checked = RedisWriterConfig;

    fn check(spec: RedisWriterSpec, cx: &mut CheckContext<'_>) -> Option<RedisWriterConfig> {
        let history = settings::check(spec.history, spec.window, "4 keeps one connection busy", cx);
        let connection = cx.connection::<RedisConnection>("connection", &spec.connection)?;
        Some(RedisWriterConfig { connection, history_secs: history?.as_secs(), window: spec.window })
    }

    async fn build(checked: &RedisWriterConfig, cx: &BuildContext) -> Result<Self, BuildError> {
        let link = Arc::new(Link::new(checked.connection.clone(), &SCRIPTS));
        link.get().await?;
        // Reads have a connection of their own: one must not wait behind a batch.
        let reads = Arc::new(Link::new(checked.connection.clone(), no_scripts()));
        cx.ports.offer_device_store(Arc::new(Devices::new(reads.clone())));
        let server = cx.peers.peer(format!("redis {}", reads.address()));
        Ok(RedisWriter {
            link,
            topology: cx.topology.clone(),
            stage: cx.stage.clone(),
            epoch: cx.epoch,
            history_secs: checked.history_secs,
            window: checked.window,
            arguments: Arguments::default(),
            flight: Flight::default(),
            unanswered: Arc::default(),
            _presence: Presence::watch(reads, server),
        })
    }
}

impl Sink for RedisWriter {
    fn window(&self) -> usize {
        self.window
    }

    async fn submit(&mut self, batch: Arc<Batch>) -> Completion {
        if batch.is_empty() {
            return flight::answered(Submitted::Delivered);
        }
        faults::point("store.before_write");
        let Some(turn) = self.flight.enter() else {
            return flight::answered(flight::out_of_turn());
        };
        let live = match self.link.get().await {
            Ok(live) => live,
            Err(failure) => return turn.answered(failure.into()),
        };
        let mut answer = self.send(live, batch.clone());
        // The first poll hands the command to the connection: here, so that the order of sending is that of submission.
        let first = match poll!(&mut answer) {
            // Without a guard nothing but its own end keeps the next one from overtaking it.
            Poll::Pending if !is_guarded(&batch) => Poll::Ready(answer.as_mut().await),
            polled => polled,
        };
        match first {
            Poll::Ready(submitted) => turn.answered(submitted),
            Poll::Pending => Box::pin(async move { turn.judge(answer.await) }),
        }
    }

    async fn resume(&mut self, partition: Partition) -> Result<Option<Cursor>, StageError> {
        let guard = guard_key(&self.topology, &self.stage, partition);
        let epoch = self.epoch.to_string();
        let value = self.link.run(&RESUME, &[&guard], &[epoch.as_bytes()]).await.map_err(|failure| {
            let wrong_type = failure.kind == FailureKind::WrongType;
            if wrong_type { StageError::Fatal(answer::guard_is_no_hash(&guard)) } else { failure.into() }
        })?;
        answer::cursor(value, &guard, self.epoch).map(Some).map_err(StageError::Fatal)
    }
}

impl RedisWriter {
    /// What becomes of a batch on this connection. Nothing is sent before the first poll.
    fn send(&mut self, mut live: Live, batch: Arc<Batch>) -> BoxFuture<'static, Submitted> {
        let guard = is_guarded(&batch).then(|| guard_key(&self.topology, &self.stage, batch.partition));
        let command = self.arguments.command(&APPLY, &batch, guard.as_deref(), self.epoch, self.history_secs);
        let link = self.link.clone();
        let epoch = self.epoch;
        let unanswered = self.unanswered.clone();
        Box::pin(async move {
            let load = Load::new(&unanswered, size(&command));
            let sent = live.send(&command, load.all_then).await;
            drop(load);
            faults::point("store.written");
            let failure = match link.judge(&live, sent) {
                Ok(value) => return answer::submitted(value, &batch, guard.as_deref(), epoch),
                Err(failure) => failure,
            };
            match failure.kind {
                FailureKind::WrongType => Submitted::Fatal(answer::guard_is_no_hash(guard.as_deref().unwrap_or(""))),
                // It was not executed: once the script is there the batch is submitted again, in its turn.
                FailureKind::NoScript => link.load(&APPLY).await.err().unwrap_or(failure).into(),
                _ => failure.into(),
            }
        })
    }
}

/// The bytes of a command that is not answered.
struct Load {
    all: Arc<AtomicUsize>,
    own: usize,
    /// All that were not answered when it was sent, its own included.
    all_then: usize,
}

impl Load {
    fn new(all: &Arc<AtomicUsize>, own: usize) -> Self {
        Load { all: all.clone(), own, all_then: all.fetch_add(own, Ordering::Relaxed) + own }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.all.fetch_sub(self.own, Ordering::Relaxed);
    }
}

fn guard_key(topology: &str, stage: &str, partition: Partition) -> String {
    format!("telemill:offset:{topology}:{stage}:{partition}")
}
