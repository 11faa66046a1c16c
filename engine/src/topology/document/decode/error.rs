//! What ends a round of decoding.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use super::context::{Context, NodeId, listed};
use crate::topology::document::code::codes;
use crate::topology::document::node::{Member, Node, shortened};
use crate::topology::document::problem::Problem;
use crate::topology::document::source::Span;
use crate::topology::document::suggest::suggest;

/// An error on its way out of a type's `Deserialize`.
#[derive(Debug)]
pub(super) enum DecodeError {
    /// Raised by a visitor, which knows no place. The first deserializer that it passes gives it one.
    Loose(Loose),
    /// It has its place.
    Placed(Box<Failure>),
}

/// What a visitor complains of.
#[derive(Debug)]
pub(super) enum Loose {
    Custom(String),
    Expected {
        code: &'static str,
        expected: String,
    },
    Length {
        found: usize,
        expected: String,
    },
    Variant {
        found: String,
        known: &'static [&'static str],
    },
    Field {
        found: String,
        known: &'static [&'static str],
    },
    Missing(&'static str),
    /// Something that it needs was treated as absent.
    Consequence,
}

/// What ended a round, and whose fault it is.
#[derive(Debug)]
pub(super) enum Failure {
    /// Something is wrong with this node. `skip`: not even a stand-in helps, because its key is what is wrong.
    Problem { node: NodeId, problem: Box<Problem>, consequence: bool, skip: bool },
    /// This mapping lacks a field.
    Missing { mapping: NodeId, field: &'static str, problem: Box<Problem>, consequence: bool },
    /// No stand-in could be made.
    StandIn(Owner),
    /// This node cannot be made without one that is absent.
    Consequence(NodeId),
}

/// What a stand-in stands for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Owner {
    /// A node.
    Node(NodeId),
    /// A missing field of a mapping.
    Field(NodeId),
}

impl From<Failure> for DecodeError {
    fn from(failure: Failure) -> Self {
        DecodeError::Placed(Box::new(failure))
    }
}

impl DecodeError {
    /// A problem with the shape of a node, whatever is below it: never the consequence of another.
    pub(super) fn problem(node: &Node, problem: Problem) -> Self {
        DecodeError::failed(node, problem.at(node.path()).span(node.head()), false)
    }

    fn failed(node: &Node, problem: Problem, consequence: bool) -> Self {
        Failure::Problem { node: NodeId::of(node), problem: Box::new(problem), consequence, skip: false }.into()
    }

    /// Gives an error without a place this node as its place.
    pub(super) fn placed(self, context: &Context<'_>, node: &Node) -> Self {
        self.placed_at(context, node, node.head())
    }

    /// Gives an error without a place this node as its place, pointing at `span`.
    pub(super) fn placed_at(self, context: &Context<'_>, node: &Node, span: Span) -> Self {
        let loose = match self {
            DecodeError::Placed(_) => return self,
            DecodeError::Loose(loose) => loose,
        };
        match loose {
            Loose::Consequence => Failure::Consequence(NodeId::of(node)).into(),
            Loose::Missing(field) => {
                let hint = match node.path() {
                    path if path.is_root() => format!("add `{field}: …` at the top level"),
                    path => format!("add `{field}: …` to `{path}`"),
                };
                let problem = Problem::new(codes::MISSING_FIELD, format!("missing field `{field}`"))
                    .hint(hint)
                    .at(node.path())
                    .span(span);
                // It is there, but it was faulty and no stand-in could be made for it.
                let consequence = node.get(field).is_some();
                let mapping = NodeId::of(node);
                Failure::Missing { mapping, field, problem: Box::new(problem), consequence }.into()
            }
            loose => {
                // A word that does not exist is wrong whatever is below it; a check of the whole may have seen a
                // stand-in.
                let consequence = !matches!(loose, Loose::Variant { .. }) && context.is_tainted(node);
                DecodeError::failed(node, loose.problem(node).at(node.path()).span(span), consequence)
            }
        }
    }

    /// Gives an error without a place a key as its place.
    pub(super) fn placed_at_key(self, mapping: &Node, member: &Member) -> Self {
        let DecodeError::Loose(loose) = self else {
            return self;
        };
        let path = mapping.path().field(member.key.name.clone()).key();
        let problem = loose.problem_of_text(&member.key.name).at(path).span(member.key.span);
        let node = NodeId::of(&member.value);
        Failure::Problem { node, problem: Box::new(problem), consequence: false, skip: true }.into()
    }

    /// Keeps what is written in `node` from being shown with this error.
    pub(super) fn masking(mut self, node: &Node) -> Self {
        if let DecodeError::Placed(failure) = &mut self
            && let Failure::Problem { problem, .. } | Failure::Missing { problem, .. } = &mut **failure
        {
            **problem = problem.as_ref().clone().masking(node.span());
        }
        self
    }
}

impl Loose {
    fn problem(self, node: &Node) -> Problem {
        if node.is_from_env() {
            return self.problem_of_env(node);
        }
        self.problem_of(&node.describe())
    }

    fn problem_of_text(self, text: &str) -> Problem {
        self.problem_of(&format!("`{}`", shortened(text)))
    }

    fn problem_of(self, described: &str) -> Problem {
        match self {
            Loose::Custom(text) => match text.split_once('\n') {
                // Serde's own words for an untagged enum name a type of ours.
                _ if text.starts_with("data did not match any variant") => {
                    Problem::new(codes::WRONG_TYPE, format!("{described} has none of the forms that are allowed here"))
                }
                Some((message, hint)) => Problem::new(codes::INVALID_VALUE, message).hint(hint),
                None => Problem::new(codes::INVALID_VALUE, text),
            },
            Loose::Expected { code, expected } => {
                Problem::new(code, format!("expected {expected}, found {described}")).hint(format!("write {expected}"))
            }
            Loose::Length { found, expected } => {
                Problem::new(codes::INVALID_VALUE, format!("expected {expected}, found {found} elements"))
                    .hint(format!("write {expected}"))
            }
            Loose::Variant { found, known } => {
                Problem::new(codes::UNKNOWN_VARIANT, format!("unknown value `{}`", shortened(&found)))
                    .hint(hint_of_words(&found, known))
            }
            Loose::Field { found, known } => {
                Problem::new(codes::UNKNOWN_FIELD, format!("unknown field `{}`", shortened(&found)))
                    .hint(hint_of_words(&found, known))
            }
            Loose::Missing(field) => Problem::new(codes::MISSING_FIELD, format!("missing field `{field}`")),
            Loose::Consequence => Problem::new(codes::INVALID_VALUE, "a value that it needs is not usable"),
        }
    }

    /// The same for a string that the environment made: nothing that repeats it or a part of it.
    fn problem_of_env(self, node: &Node) -> Problem {
        let written = shortened(node.written().unwrap_or_default());
        let problem = |code| Problem::new(code, format!("what `{written}` gives is not allowed here"));
        match self {
            Loose::Custom(text) => match text.split_once('\n') {
                Some((_, hint)) => problem(codes::INVALID_VALUE).hint(hint),
                None => problem(codes::INVALID_VALUE),
            },
            Loose::Variant { known, .. } => problem(codes::UNKNOWN_VARIANT).hint(format!("one of {}", listed(known))),
            Loose::Field { known, .. } => problem(codes::UNKNOWN_FIELD).hint(format!("one of {}", listed(known))),
            other => other.problem_of(&node.describe()),
        }
    }
}

fn hint_of_words(found: &str, known: &'static [&'static str]) -> String {
    match suggest(found, known.iter().copied()) {
        Some(word) => format!("did you mean `{word}`?"),
        None if known.is_empty() => "nothing is known here".to_owned(),
        None => format!("one of {}", listed(known)),
    }
}

/// Serde's words for types, in ours.
fn in_our_words(expected: &dyn Expected) -> String {
    match expected.to_string().as_str() {
        "a map" => "a mapping".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a boolean" => "`true` or `false`".to_owned(),
        "unit" => "nothing".to_owned(),
        // A derived type names itself; its Rust name says nothing to the writer of a file.
        derived if derived.starts_with("struct ") => "a mapping".to_owned(),
        other => other.to_owned(),
    }
}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        DecodeError::Loose(Loose::Custom(message.to_string()))
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        DecodeError::Loose(Loose::Expected { code: codes::WRONG_TYPE, expected: in_our_words(expected) })
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        DecodeError::Loose(Loose::Expected { code: codes::INVALID_VALUE, expected: in_our_words(expected) })
    }

    fn invalid_length(found: usize, expected: &dyn Expected) -> Self {
        DecodeError::Loose(Loose::Length { found, expected: in_our_words(expected) })
    }

    fn unknown_variant(found: &str, known: &'static [&'static str]) -> Self {
        DecodeError::Loose(Loose::Variant { found: found.to_owned(), known })
    }

    fn unknown_field(found: &str, known: &'static [&'static str]) -> Self {
        DecodeError::Loose(Loose::Field { found: found.to_owned(), known })
    }

    fn missing_field(field: &'static str) -> Self {
        DecodeError::Loose(Loose::Missing(field))
    }

    fn duplicate_field(field: &'static str) -> Self {
        DecodeError::Loose(Loose::Custom(format!(
            "`{field}` is given twice, by two of its names\nremove one of the two"
        )))
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the document does not decode")
    }
}

impl std::error::Error for DecodeError {}
