//! The embedded default: the contracts, and what only a data directory brings.

mod harness;
mod kills;
mod state;
mod store;
mod weight;
