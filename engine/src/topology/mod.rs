//! The topology language: parse → check → plan.

mod check;
pub mod document;
pub mod expr;
mod graph;
mod plan;
mod schema;
mod simulate;
mod spec;

pub use check::{CHECK_CODES, check};
pub use document::{
    ByteSize, Diagnostics, Document, Entries, FieldPath, HumanDuration, Located, Node, Problem, Problems, Secret,
    Source, Span, decode,
};
pub use graph::{dot, mermaid};
pub use plan::{Plan, PlannedSink, PlannedStage};
pub use schema::schema;
pub use simulate::SimulateSpec;
pub use spec::TopologySpec;
