//! What a component is, whatever its kind.
//!
//! A component owns its protocol and nothing else: batching, retry, acknowledgement, restart, timers, checkpoints and
//! metrics are the engine's. It goes through three phases, each with a type of its own:
//!
//! ```text
//! Spec     as written in the topology file: serde and JSON Schema, nothing proven
//!   │      Component::check, pure, reports every problem with its place
//! Checked  proven good; the only input to build
//!   │      Component::build, does I/O; called at start and at every restart
//! Self     running: a Source, Processor, Keyed or Sink
//! ```

use std::future::Future;
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::context::{BuildContext, CheckContext};
use crate::record::{Reason, Record};
use crate::registry::Description;

/// What the registry knows of every component.
pub trait Component: Sized + Send + 'static {
    /// The word that names it in a topology file, such as `redis_writer`.
    const KIND: &'static str;
    /// The kind of connection that this implementation is for, where it has one: the spec's `connection` field names it.
    /// A kind may have an implementation for each of several.
    const CONNECTION: &'static str = "";
    /// The outlets besides the main one, by name.
    const OUTLETS: &'static [&'static str] = &[];
    /// As written.
    type Spec: DeserializeOwned + JsonSchema;
    /// Proven good.
    type Checked: Send + Sync + 'static;

    /// Proves a spec. Pure: no I/O, no clock. Problems are reported to `cx`, all of them; `None` when there was one.
    fn check(spec: Self::Spec, cx: &mut CheckContext<'_>) -> Option<Self::Checked>;

    /// What the plan has to know: topics, companions, journal, marks.
    fn describe(checked: &Self::Checked) -> Description {
        let _ = checked;
        Description::default()
    }

    /// Makes the component, connecting to what it needs. Called at start and again at every restart.
    fn build(checked: &Self::Checked, cx: &BuildContext) -> impl Future<Output = Result<Self, BuildError>> + Send;
}

/// Why a component could not be built.
#[derive(Debug, Error)]
pub enum BuildError {
    /// What it needs is not there now; building again later may succeed. The text names the address, never a secret.
    #[error("{0}")]
    Unavailable(String),
    /// It cannot be built from this configuration in this environment, however often it is tried.
    #[error("{0}")]
    Impossible(String),
}

/// What a stage says of a record that it could not handle.
#[derive(Debug, Error, Clone)]
pub enum StageError {
    /// The record is at fault. Counts as an attempt; after `max_attempts` the record goes to the dead letters.
    #[error("{reason}: {detail}")]
    Reject {
        /// For metrics and filters.
        reason: Reason,
        /// For a person.
        detail: String,
        /// Trying again cannot help: to the dead letters at once.
        permanent: bool,
    },
    /// Something outside is at fault: try again, for as long as it takes, with back-off. Never a dead letter.
    #[error("{reason}: {detail}")]
    Retry {
        /// For metrics.
        reason: Reason,
        /// For a person.
        detail: String,
        /// Wait at least this long, where the other side asked for it.
        after: Option<Duration>,
    },
    /// The component is unusable: rebuild it, then go on with the same record.
    #[error("{0}")]
    Fatal(String),
}

impl StageError {
    /// A record that can never succeed.
    pub fn reject(reason: Reason, detail: impl Into<String>) -> Self {
        StageError::Reject { reason, detail: detail.into(), permanent: true }
    }
}

/// The number of an outlet: 0 is the main one, then those of [`Component::OUTLETS`] in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Outlet(pub u8);

impl Outlet {
    /// The outlet that an input names by the stage alone.
    pub const MAIN: Outlet = Outlet(0);
}

/// Records that a stage has made and not yet handed on.
///
/// The engine sets a savepoint before each record and rolls back to it when the component panics or refuses, so that
/// what a failed attempt emitted is never seen.
#[derive(Debug, Default)]
pub struct Outlets {
    emitted: Vec<(Outlet, Record)>,
    savepoint: usize,
}

impl Outlets {
    /// Emits a record on an outlet.
    pub fn emit(&mut self, outlet: Outlet, record: Record) {
        self.emitted.push((outlet, record));
    }

    /// How many records wait to be handed on.
    pub fn len(&self) -> usize {
        self.emitted.len()
    }

    /// Whether none wait.
    pub fn is_empty(&self) -> bool {
        self.emitted.is_empty()
    }

    pub(crate) fn set_savepoint(&mut self) {
        self.savepoint = self.emitted.len();
    }

    pub(crate) fn roll_back(&mut self) {
        self.emitted.truncate(self.savepoint);
    }

    pub(crate) fn since_savepoint(&self) -> usize {
        self.emitted.len() - self.savepoint
    }

    pub(crate) fn take(&mut self) -> Vec<(Outlet, Record)> {
        self.savepoint = 0;
        std::mem::take(&mut self.emitted)
    }
}

/// A stage that turns one record into none, one or several, with no state that outlives it.
pub trait Processor: Send + 'static {
    /// Handles one record. Called one at a time, in order; what it emits counts only when it returns `Ok`.
    fn handle(&mut self, record: &Record, out: &mut Outlets) -> impl Future<Output = Result<(), StageError>> + Send;
}
