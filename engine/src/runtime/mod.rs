//! The running engine.

mod host;

pub use host::{KeyedHost, StepFailure, host};
