//! What survives a process in a simulation: the log, the stores, the broker in front, and the troubles that befall them.

mod broker;
mod letters;
mod life;
mod log;
mod state;
mod table;
mod trouble;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::record::{EventId, Record};
use crate::registry::SessionLimits;

pub use broker::{Broker, Message, Poison};
pub use letters::{DEAD, SimLetters};
pub(crate) use log::journal;
pub use log::{SimLog, Superseded};
pub use state::SimState;
use state::StateCopy;
pub use table::SimTable;
use table::TableCopy;
pub use trouble::{Rates, Trouble};

/// Everything outside the process.
pub struct World {
    /// What goes wrong, and what was seen to go wrong.
    pub trouble: Arc<Trouble>,
    /// The log.
    pub log: Arc<SimLog>,
    /// The dead letters, which are a topic of the log.
    pub letters: Arc<SimLetters>,
    /// The broker that the ingress reads.
    pub broker: Arc<Broker>,
    /// Claims and checkpoints.
    pub state: Arc<SimState>,
    /// The tables that the scenario's topology writes.
    pub tables: Tables,
    limits: OnceLock<SessionLimits>,
    copies: Mutex<Vec<Copy>>,
    /// What is wrong with records may be mended here; then, of which it is.
    mended: Mutex<Option<BTreeSet<EventId>>>,
}

/// What was in the store of checkpoints and of the table behind the keyed stage at one instant.
struct Copy {
    history: TableCopy,
    state: StateCopy,
}

/// The tables of the scenario's topology.
#[derive(Default)]
pub struct Tables {
    /// Fed by the source itself.
    pub state: Arc<SimTable>,
    /// Fed by a processor behind the source.
    pub shaped: Arc<SimTable>,
    /// Fed by the keyed stage.
    pub history: Arc<SimTable>,
}

impl World {
    /// An empty world with the troubles of `seed`; every topic has `partitions` partitions.
    pub fn new(seed: u64, partitions: i32) -> Arc<World> {
        let trouble = Arc::new(Trouble::new(seed));
        let log = Arc::new(SimLog::new(partitions, trouble.clone()));
        Arc::new(World {
            letters: SimLetters::new(&log, &trouble),
            mended: Mutex::default(),
            log,
            broker: Arc::default(),
            state: Arc::new(SimState::new(trouble.clone())),
            tables: Tables::default(),
            limits: OnceLock::new(),
            copies: Mutex::default(),
            trouble,
        })
    }

    /// What bounds the sessions of the keyed stage: nothing that matters, unless it was said.
    pub fn limits(&self) -> SessionLimits {
        self.limits.get().copied().unwrap_or_default()
    }

    /// Bounds the sessions of the keyed stage; once.
    pub fn bound_sessions(&self, limits: SessionLimits) {
        // A second call changes nothing.
        let _ = self.limits.set(limits);
    }

    /// Whether devices may be forgotten. Then no checkpoint is lost altogether: the journal alone tells what became of a
    /// device's last session, and not of those before.
    pub fn forgets(&self) -> bool {
        self.limits.get().is_some()
    }

    /// What is wrong with a record that a table refuses may be mended, at any time.
    pub fn let_mend(&self) {
        self.mended().get_or_insert_default();
    }

    /// Whether it may.
    pub fn mends(&self) -> bool {
        self.mended().is_some()
    }

    /// Whether what was wrong with a record is mended by now. Once it is, it stays so.
    pub fn is_mended(&self, record: &Record) -> bool {
        let now = self.mends() && self.trouble.between(0, 2) == 0;
        let mut mended = self.mended();
        let Some(mended) = &mut *mended else { return false };
        mended.contains(&record.id) || (now && mended.insert(record.id))
    }

    fn mended(&self) -> MutexGuard<'_, Option<BTreeSet<EventId>>> {
        self.mended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a copy of the store that has the checkpoints and the table behind the keyed stage.
    pub fn take_copy(&self) {
        self.copies().push(Copy { history: self.tables.history.copy(), state: self.state.copy() });
    }

    /// While nobody is there, that store is restored from a copy, if there is one.
    pub fn restore_copy(&self) {
        let mut copies = self.copies();
        if copies.is_empty() {
            return;
        }
        let at = self.trouble.between(0, copies.len() as u64 - 1) as usize;
        self.trouble.note(|| format!("history and the checkpoints are restored from copy {at} of {}", copies.len()));
        let Copy { history, state } = copies.swap_remove(at);
        if self.forgets() && !state.has_all(self.log.partitions()) {
            return;
        }
        self.tables.history.restore(history);
        self.state.restore(state);
    }

    fn copies(&self) -> MutexGuard<'_, Vec<Copy>> {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
