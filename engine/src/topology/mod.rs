//! The topology language: parse → check → plan.

pub mod expr;
mod plan;
mod stand_in;
pub use plan::{Plan, PlannedSink, PlannedStage};
pub use stand_in::{ByteSize, HumanDuration, Node, Problems, decode};
