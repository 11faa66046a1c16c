//! The expression language of alert rules: CEL's syntax, a subset that is checked and compiled.
//!
//! A rule is asked of every record, so it must be cheap; it comes from a person, so what is wrong with it must be said
//! before it runs; and devices send what they like, so no message may break it. Hence:
//!
//! - **checked once**: text → words (`lexer`, `literal`) → tree (`parse`, `operand`) → checked tree (`check`, `resolve`) → compiled form
//!   (`compile`). Every problem comes with a stable code, a byte range and a hint ([`ExprError`]); nothing is left that
//!   could fail later.
//! - **reads what it names**: [`Fields`] collects the paths of all expressions over the same messages, and one pass
//!   over the JSON ([`FieldPlan::extract`]) fills one slot a path; an expression is a small tree over slots
//!   ([`Program`]), evaluated without allocation on numbers and borrowed texts.
//! - **no data is not false**: a missing field or a value of the wrong type gives [`Outcome::NoData`]. It is neither
//!   true nor false nor an error, and passes on unless the other side of `&&` or `||` decides.
//! - **never panics**, on any text and any message: length, nesting and the height of trees are limited.
//!
//! The subset and where it departs from CEL are written down for users in `docs/expressions.md`.
//!
//! ```
//! use telemill_engine::topology::expr::{Fields, Inputs, Program, Want};
//!
//! let mut fields = Fields::new();
//! let rule = Program::compile("payload.temperature > 80.0", Want::Bool, &mut fields).expect("a valid rule");
//! let plan = fields.freeze();
//!
//! let mut slots = plan.slots();
//! plan.extract(br#"{"temperature": 81, "unit": "C"}"#, &mut slots).expect("valid JSON");
//! let inputs = Inputs { device_id: "d1", kind: "data", timestamp: 1_700_000_000, slots: slots.as_slice() };
//! assert_eq!(rule.eval_bool(&inputs), Some(true));
//! ```

mod ast;
mod check;
mod compile;
mod error;
mod eval;
mod extract;
mod functions;
mod lexer;
mod literal;
mod node;
mod number;
mod operand;
mod parse;
mod paths;
mod print;
mod program;
mod resolve;
mod scope;
mod suggest;
mod template;
#[cfg(test)]
mod tests;
mod token;
mod types;
mod value;

pub use error::{ExprError, Span, codes};
pub use eval::Inputs;
pub use extract::{ExtractError, Slot, Slots};
pub use paths::{FieldPlan, Fields, Path, Segment, SlotId};
pub use program::{Outcome, Program, Want};
pub use scope::TemplateScope;
pub use template::{NO_DATA, Template};
pub use types::Type;
pub use value::Value;

/// The longest text of an expression or template, in bytes.
pub const MAX_TEXT: usize = 4096;
/// How deep an expression may nest, and how many steps a path may have.
pub const MAX_DEPTH: usize = 64;
/// How many operators and selections may build on each other, which bounds the height of the tree.
pub const MAX_CHAIN: usize = 250;
/// The longest string that an expression makes, in bytes; joining to a longer one is no data.
pub const MAX_STRING: usize = 64 * 1024;
/// The longest text that a template renders, in bytes; a longer one is cut.
pub const MAX_RENDERED: usize = 16 * 1024;
