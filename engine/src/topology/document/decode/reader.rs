//! The deserializer of a node.

use std::cell::RefCell;

use serde::de::{DeserializeSeed, Deserializer, Visitor};

use super::access::{EnumReader, ItemsReader, LocatedReader, MembersReader};
use super::context::{Context, Status, listed};
use super::error::{DecodeError, Failure, Loose, Owner};
use super::stand_in::StandIn;
use super::{LOCATED, NODE, SECRET};
use crate::topology::document::code::codes;
use crate::topology::document::decode::context::NodeId;
use crate::topology::document::node::{Node, Value};
use crate::topology::document::problem::Problem;
use crate::topology::document::scalar::resolve;

thread_local! {
    /// A node on its way to the `Deserialize` of [`Node`]: no visitor method can carry one.
    static CAPTURED: RefCell<Option<Node>> = const { RefCell::new(None) };
}

/// The node that the deserializer has just offered.
pub(in super::super) fn take_captured() -> Option<Node> {
    CAPTURED.take()
}

/// Offers a node to the `Deserialize` of [`Node`].
pub(super) fn capture<'de, V: Visitor<'de>>(node: Node, visitor: V) -> Result<V::Value, DecodeError> {
    CAPTURED.set(Some(node));
    visitor.visit_unit()
}

/// Reads a node, or a stand-in for it; an error without a place gets the node as its place.
pub(super) fn read_value<'de, S: DeserializeSeed<'de>>(
    context: &Context<'_>,
    node: &Node,
    seed: S,
) -> Result<S::Value, DecodeError> {
    match context.status(node) {
        Status::Sound => seed.deserialize(Reader { context, node }).map_err(|error| error.placed(context, node)),
        Status::StandIn => stand_in(seed, Owner::Node(NodeId::of(node))),
        Status::Absent => Err(DecodeError::Loose(Loose::Consequence)),
    }
}

/// Gives a stand-in for `owner`.
pub(super) fn stand_in<'de, S: DeserializeSeed<'de>>(seed: S, owner: Owner) -> Result<S::Value, DecodeError> {
    seed.deserialize(StandIn::default()).map_err(|_| Failure::StandIn(owner).into())
}

/// Reads one sound node.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a, 'p> {
    pub(super) context: &'a Context<'p>,
    pub(super) node: &'a Node,
}

impl Reader<'_, '_> {
    fn wrong(self, expected: &str, hint: Option<String>) -> DecodeError {
        let message = format!("expected {expected}, found {}", self.node.describe());
        let hint = hint.unwrap_or_else(|| format!("write {expected}"));
        self.problem(Problem::new(codes::WRONG_TYPE, message).hint(hint))
    }

    fn problem(self, problem: Problem) -> DecodeError {
        DecodeError::problem(self.node, problem)
    }

    fn wrong_for_number(self, expected: &str) -> DecodeError {
        let hint = match self.node.as_str() {
            Some(_) if self.node.is_from_env() => {
                Some("what comes from the environment is always a string: write the number itself".to_owned())
            }
            Some(text) if matches!(resolve(text), Some(Value::Int(_) | Value::Float(_))) => {
                Some(format!("write it without quotes: `{text}`"))
            }
            _ => None,
        };
        self.wrong(expected, hint)
    }

    fn wrong_for_string(self) -> DecodeError {
        let hint = match (&self.node.value, self.node.written()) {
            (Value::Bool(_) | Value::Int(_) | Value::Float(_), Some(text)) => Some(format!("quote it: `\"{text}\"`")),
            _ => None,
        };
        self.wrong("a string", hint)
    }

    fn wrong_for_list(self) -> DecodeError {
        let hint = match (&self.node.value, self.node.written()) {
            (Value::Null, _) | (_, None) => None,
            _ if self.node.is_from_env() => Some("put it into brackets: `[ ]`".to_owned()),
            (_, Some(text)) => Some(format!("put it into brackets: `[{text}]`")),
        };
        self.wrong("a list", hint)
    }

    fn wrong_for_mapping(self, fields: &'static [&'static str]) -> DecodeError {
        let hint = (!fields.is_empty()).then(|| format!("its fields are {}", listed(fields)));
        self.wrong("a mapping", hint)
    }

    /// A whole number in the range of `T`.
    fn integer<T: TryFrom<i128>>(
        self,
        least: impl std::fmt::Display,
        most: impl std::fmt::Display,
    ) -> Result<T, DecodeError> {
        let Value::Int(number) = self.node.value else {
            return Err(self.wrong_for_number("a whole number"));
        };
        T::try_from(number).map_err(|_| {
            let message = format!("{} is out of range", self.node.describe());
            let hint = format!("write a whole number from {least} to {most}");
            self.problem(Problem::new(codes::INVALID_VALUE, message).hint(hint))
        })
    }
}

macro_rules! integers {
    ($($method:ident $visit:ident $type:ty;)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            visitor.$visit(self.integer::<$type>(<$type>::MIN, <$type>::MAX)?)
        })*
    };
}

impl<'de> Deserializer<'de> for Reader<'_, '_> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Int(number) => match (u64::try_from(*number), i64::try_from(*number)) {
                (Ok(number), _) => visitor.visit_u64(number),
                (_, Ok(number)) => visitor.visit_i64(number),
                _ => visitor.visit_i128(*number),
            },
            Value::Float(number) => visitor.visit_f64(*number),
            Value::String(text) => visitor.visit_str(text),
            Value::Sequence(_) => self.deserialize_seq(visitor),
            Value::Mapping(_) => self.deserialize_map(visitor),
        }
    }

    integers! {
        deserialize_i8 visit_i8 i8;
        deserialize_i16 visit_i16 i16;
        deserialize_i32 visit_i32 i32;
        deserialize_i64 visit_i64 i64;
        deserialize_i128 visit_i128 i128;
        deserialize_u8 visit_u8 u8;
        deserialize_u16 visit_u16 u16;
        deserialize_u32 visit_u32 u32;
        deserialize_u64 visit_u64 u64;
        deserialize_u128 visit_u128 u128;
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.node.value {
            Value::Bool(value) => visitor.visit_bool(value),
            _ => {
                let other =
                    |words: &[&str]| self.node.as_str().is_some_and(|text| words.contains(&&*text.to_lowercase()));
                let hint = match () {
                    () if other(&["yes", "on", "true"]) => Some("write `true`, without quotes".to_owned()),
                    () if other(&["no", "off", "false"]) => Some("write `false`, without quotes".to_owned()),
                    () => None,
                };
                Err(self.wrong("`true` or `false`", hint))
            }
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.node.value {
            Value::Float(number) => visitor.visit_f64(number),
            Value::Int(number) => visitor.visit_f64(number as f64),
            _ => Err(self.wrong_for_number("a number")),
        }
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.node.value {
            Value::String(text) => visitor.visit_str(text),
            _ => Err(self.wrong_for_string()),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.node.value {
            Value::String(text) => visitor.visit_bytes(text.as_bytes()),
            _ => Err(self.wrong_for_string()),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.node.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.node.is_null() {
            visitor.visit_unit()
        } else {
            Err(self.wrong("nothing", Some("remove the value".to_owned())))
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match name {
            LOCATED => visitor.visit_seq(LocatedReader::new(self.node.head(), self)),
            NODE => capture(self.node.clone(), visitor),
            SECRET if !self.node.is_mapping() => {
                let kind =
                    if self.node.as_str().is_some() { "a plain string".to_owned() } else { self.node.describe() };
                let problem =
                    Problem::new(codes::WRONG_TYPE, format!("expected a reference to a secret, found {kind}"))
                        .hint("write `{ secret: { env: NAME } }` or `{ secret: { file: PATH } }`");
                Err(self.problem(problem).masking(self.node))
            }
            SECRET => {
                let read = visitor.visit_newtype_struct(self);
                read.map_err(|error| error.placed(self.context, self.node).masking(self.node))
            }
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.node.value {
            Value::Sequence(items) => visitor.visit_seq(ItemsReader { context: self.context, items: items.iter() }),
            _ => Err(self.wrong_for_list()),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, DecodeError> {
        let found = self.node.items().len();
        if matches!(self.node.value, Value::Sequence(_)) && found != length {
            let message = format!("expected a list of {length}, found one of {found}");
            let hint = format!("write a list of {length}");
            return Err(self.problem(Problem::new(codes::INVALID_VALUE, message).hint(hint)));
        }
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.node.value {
            Value::Mapping(_) => visitor.visit_map(MembersReader::new(self, None)),
            _ => Err(self.wrong_for_mapping(&[])),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match &self.node.value {
            Value::Mapping(_) => visitor.visit_map(MembersReader::new(self, Some(fields))),
            _ => Err(self.wrong_for_mapping(fields)),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let one_of = || format!("one of {}", listed(variants));
        match &self.node.value {
            Value::String(_) => visitor.visit_enum(EnumReader { reader: self, member: None }),
            Value::Mapping(members) => match members.as_slice() {
                [member] => visitor.visit_enum(EnumReader { reader: self, member: Some(member) }),
                members => {
                    let found = match members.len() {
                        0 => "none".to_owned(),
                        _ => listed(&members.iter().map(|member| &*member.key.name).collect::<Vec<_>>()),
                    };
                    let message = format!("expected a mapping with exactly one key, found {found}");
                    Err(self.problem(Problem::new(codes::WRONG_TYPE, message).hint(one_of())))
                }
            },
            _ => Err(self.wrong("a word or a mapping with one key", Some(one_of()))),
        }
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_unit()
    }
}
