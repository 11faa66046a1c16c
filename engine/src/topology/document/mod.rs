//! From the text of a topology file to typed values, with every problem at once and at its place.
//!
//! An operator who has made five mistakes should read five located messages, not one, and not five plus their echoes.
//! So nothing here stops at the first problem, and nothing reports what is only a consequence of something reported.
//!
//! ```text
//! text ──parse──▶ Document (a tree of located Nodes) ──decode──▶ any type that derives Deserialize
//!        │                    │                           │
//!        └────────────────────┴── Problems ───────────────┴──▶ Diagnostics: text for a person, JSON for a program
//! ```
//!
//! - [`Document::parse`] reads YAML (JSON is YAML), keeps the place of every key and value, and puts the environment
//!   in for `${NAME}` in string values. [`read`] does all three steps for a file that needs no checks of its own.
//! - [`decode`] turns a [`Node`] into a type. [`Located`] keeps the place of a value, [`Entries`] keeps the order of a
//!   mapping, and a field of type [`Node`] takes whatever is there, to be decoded once its type is known.
//! - A check reports a [`Problem`] at a [`FieldPath`] relative to the node that it was given;
//!   [`Problem::in_node`] finds the place.
//! - [`Diagnostics`] renders all problems in the order of the file.
//!
//! Guarantees: hostile text ends in a problem, never in a panic, a hang or memory without bound (see [`limits`]); what
//! came from the environment, and passwords in URLs, are not printed (see [`redact`]).

mod byte_size;
mod code;
mod decode;
mod diagnostics;
mod duration;
mod entries;
mod env;
#[cfg(test)]
mod fixtures;
pub mod limits;
mod located;
mod node;
mod offsets;
mod parse;
mod path;
mod problem;
pub mod redact;
mod scalar;
mod secret;
mod source;
mod suggest;
mod tree;

pub use byte_size::ByteSize;
pub use code::{CODES, codes};
pub use decode::{decode, parse_text};
pub use diagnostics::{Diagnostics, Style};
pub use duration::HumanDuration;
pub use entries::{Entries, Entry};
pub use env::Env;
pub use located::Located;
pub use node::{Key, Member, Node, Value};
pub use path::{FieldPath, Segment};
pub use problem::{Problem, Problems, Related};
pub use secret::{Secret, SecretError, SecretValue};
pub use source::{Position, Source, Span};
pub use suggest::suggest;
pub use tree::{Document, read};
