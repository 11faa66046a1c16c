//! From nodes to types, with every problem at once.
//!
//! Serde stops at the first error, and types that derive `Deserialize` know nothing of places. So [`decode`] runs a
//! type's `Deserialize` several times over the same nodes:
//!
//! - An error belongs to the innermost node that was being read. It is recorded once, and from then on the node is
//!   *poisoned*: in later rounds a stand-in of whatever type is asked for takes its place, so that reading goes on to
//!   the next error. What needs a stand-in that cannot be made (a string must parse, say) is treated as not there.
//! - A missing field is recorded at its mapping; in later rounds a stand-in is given for it as well, so that the next
//!   missing field is found.
//! - An error at a node with poison below it may be a consequence, and is not recorded: the node is poisoned silently.
//! - Fields that a struct does not have are recorded as they are met and skipped.
//!
//! Each round poisons at least one more node, so this ends. A value that was made with stand-ins is never returned.
//!
//! Untagged and internally tagged enums and `#[serde(flatten)]` work, but serde reads their content into a buffer
//! first, so that problems inside have the place of the whole value and unknown fields are not found. Externally
//! tagged enums have neither flaw.

mod access;
mod context;
mod error;
mod key;
mod reader;
mod stand_in;
mod text;

use serde::de::DeserializeOwned;

use super::node::Node;
use super::problem::Problems;
use context::Context;
use error::DecodeError;

pub use text::parse_text;

/// The name by which the deserializer knows that [`super::Located`] asks for a place.
pub(super) const LOCATED: &str = "$telemill::Located";
/// The name by which the deserializer knows that a [`Node`] asks for the node itself.
pub(super) const NODE: &str = "$telemill::Node";
/// The name by which the deserializer knows that what is there may be a secret.
pub(super) const SECRET: &str = "$telemill::Secret";

pub(super) use reader::take_captured;

/// A node as a `T`. `None` if anything in it is wrong; then each problem in it has been added to `problems`, once,
/// with its place, its path from the root of the document and a hint where there is one.
///
/// A value that already has its problem (an unset variable, say) makes the result `None` and adds none.
///
/// Where a type's own `Deserialize` or `try_from` fails with a text of several lines, the first line is the message and
/// the rest the hint. A hint must not repeat the value: for one from the environment, the hint alone is shown.
pub fn decode<T: DeserializeOwned>(node: &Node, problems: &mut Problems) -> Option<T> {
    let context = Context::new(problems);
    loop {
        match reader::read_value(&context, node, std::marker::PhantomData::<T>) {
            Ok(value) => return context.is_clean().then_some(value),
            Err(DecodeError::Placed(failure)) => {
                if !context.settle(*failure, node) {
                    return None;
                }
            }
            // A root that is not there.
            Err(DecodeError::Loose(_)) => return None,
        }
    }
}

#[cfg(test)]
mod tests;
