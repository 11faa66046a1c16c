//! The topology language: parse → check → plan.

pub mod expr;
mod stand_in;
pub use stand_in::{ByteSize, HumanDuration, Node, Problems, decode};
