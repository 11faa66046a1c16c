//! What survives a process in a simulation: the log, the stores, the broker in front, and the troubles that befall them.

mod broker;
mod log;
mod state;
mod table;
mod trouble;

use std::sync::Arc;

pub use broker::{Broker, Message, Poison};
pub use log::SimLog;
pub(crate) use log::journal;
pub use state::SimState;
pub use table::SimTable;
pub use trouble::{Rates, Trouble};

/// Everything outside the process.
pub struct World {
    /// What goes wrong, and what was seen to go wrong.
    pub trouble: Arc<Trouble>,
    /// The log.
    pub log: Arc<SimLog>,
    /// The broker that the ingress reads.
    pub broker: Arc<Broker>,
    /// Claims and checkpoints.
    pub state: Arc<SimState>,
}

impl World {
    /// An empty world with the troubles of `seed`; every topic has `partitions` partitions.
    pub fn new(seed: u64, partitions: i32) -> Arc<World> {
        let trouble = Arc::new(Trouble::new(seed));
        Arc::new(World {
            log: Arc::new(SimLog::new(partitions, trouble.clone())),
            broker: Arc::default(),
            state: Arc::new(SimState::new(trouble.clone())),
            trouble,
        })
    }
}
