//! The part of a stage's actor that survives the actor.
//!
//! A [`Cell`] owns everything that must not be lost when a component panics or gives up: the mailbox, the batch in hand,
//! what is in flight, the wires. The actor runs the cell; when the run ends, by return or by panic, the cell goes back
//! to the supervisor, which starts a new actor with it. The component itself lives only inside the run: it is rebuilt
//! from its checked configuration every time.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, Either, select};

use crate::context::BuildContext;
use crate::metrics::StageMetrics;
use crate::record::{Reason, Record};
use crate::registry::Factory;
use crate::retry::{Backoff, BackoffPolicy};
use crate::stage::BuildError;

use super::dead_letters::DeadLetters;
use super::mailbox::Mailbox;
use super::status::{StageState, StageStatus};

/// How the run of a stage ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// Everything upstream has ended and everything received is resolved.
    Drained,
    /// The component panicked.
    Panicked(String),
    /// The component said that it is unusable.
    Failed(String),
    /// No restart can help: the topology stops.
    Broken(String),
}

impl ExitReason {
    /// The word for metrics.
    pub fn word(&self) -> &'static str {
        match self {
            ExitReason::Drained => "drained",
            ExitReason::Panicked(_) => "panic",
            ExitReason::Failed(_) => "failed",
            ExitReason::Broken(_) => "broken",
        }
    }
}

/// The part of a stage's actor that survives the actor.
pub trait Cell: Send + 'static {
    /// Runs until the stage is drained or fails. May be called again after a failure or a panic, and goes on where the
    /// last run stopped.
    fn run(&mut self) -> BoxFuture<'_, ExitReason>;

    /// What it shares with everyone who looks at it.
    fn common(&self) -> &StageCommon;

    /// The last run ended in a panic of the component.
    fn panicked(&mut self, message: &str);
}

/// What every stage has.
#[derive(Clone)]
pub struct StageCommon {
    /// What its component is built with.
    pub cx: BuildContext,
    /// Its counters.
    pub metrics: Arc<StageMetrics>,
    /// Its state, for others.
    pub status: StageStatus,
    /// Where its unfit records go.
    pub dead_letters: DeadLetters,
    /// Its limits.
    pub limits: StageLimits,
}

/// The limits of a stage, from the topology file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageLimits {
    /// The most records in one batch.
    pub max_records: usize,
    /// How often a record is tried before it goes to the dead letters.
    pub max_attempts: u32,
    /// The waits between tries.
    pub backoff: BackoffPolicy,
}

impl Default for StageLimits {
    fn default() -> Self {
        StageLimits { max_records: 512, max_attempts: 3, backoff: BackoffPolicy::default() }
    }
}

impl StageCommon {
    /// A run of failures of this stage, for waits between tries.
    pub fn backoff(&self) -> Backoff {
        Backoff::new(self.limits.backoff, seed_of(&self.cx.stage))
    }

    /// Builds the component; the stage runs when it is built.
    pub async fn build<T>(&self, factory: &dyn Factory<T>) -> Result<T, ExitReason> {
        let component = self.construct(factory).await?;
        self.status.set(StageState::Running);
        Ok(component)
    }

    /// Builds the component, again and again while what it needs is not there: an outage is no failure.
    pub async fn construct<T>(&self, factory: &dyn Factory<T>) -> Result<T, ExitReason> {
        // What the last component knew ended with it.
        self.cx.peers.forget();
        let mut backoff = self.backoff();
        loop {
            match factory.build(&self.cx).await {
                Ok(component) => return Ok(component),
                Err(BuildError::Impossible(why)) => return Err(ExitReason::Broken(why)),
                Err(BuildError::Unavailable(why)) => {
                    if backoff.failures() == 0 {
                        tracing::warn!(code = "stage_unavailable", topology = %self.cx.topology, stage = %self.cx.stage, why, "waiting for what the stage needs");
                    }
                    self.status.set(StageState::Starting(Some(why)));
                    self.metrics.retried(Reason("unavailable"));
                    tokio::time::sleep(backoff.next_delay()).await;
                }
            }
        }
    }

    /// Builds the component of a stage that has nothing in hand: none is needed once nothing can come any more.
    pub async fn build_unless_finished<T>(&self, factory: &dyn Factory<T>, mailbox: &Mailbox) -> Result<T, ExitReason> {
        match select(pin!(self.build(factory)), pin!(mailbox.finished())).await {
            Either::Left((built, _)) => built,
            Either::Right(_) => Err(ExitReason::Drained),
        }
    }

    /// Whether the stage gave this record up before it was read again; then it counts, and there is no more to do for it.
    pub fn gave_up_before(&self, record: &Record) -> bool {
        let gave_up = self.dead_letters.before.has(&self.cx.stage, record);
        if gave_up {
            self.metrics.dead_lettered(Reason::GIVEN_UP);
        }
        gave_up
    }

    /// Waits for what the stage talks to before the next try: the stage counts as waiting, and says why.
    pub async fn wait(&self, backoff: &mut Backoff, reason: Reason, detail: &str, at_least: Option<Duration>) {
        self.status.set(StageState::Waiting(format!("{reason}: {detail}")));
        self.pause(backoff, reason, detail, at_least).await;
    }

    /// No try is needed any more: whoever was told of the first failure is told that, too.
    pub fn goes_on(&self, backoff: &mut Backoff) {
        if backoff.failures() > 0 {
            let tries = backoff.failures();
            tracing::info!(code = "stage_goes_on", topology = %self.cx.topology, stage = %self.cx.stage, tries, "going on");
        }
        backoff.reset();
    }

    /// Waits before a record that was refused is tried again. The stage does its work all the while.
    pub async fn pause(&self, backoff: &mut Backoff, reason: Reason, detail: &str, at_least: Option<Duration>) {
        if backoff.failures() == 0 {
            tracing::warn!(code = "stage_retry", topology = %self.cx.topology, stage = %self.cx.stage, %reason, detail, "trying again");
        }
        self.metrics.retried(reason);
        let delay = backoff.next_delay();
        tokio::time::sleep(at_least.map_or(delay, |least| delay.max(least))).await;
    }
}

/// A seed that differs from stage to stage and is the same in every run.
pub(super) fn seed_of(name: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(name.as_bytes())
}
