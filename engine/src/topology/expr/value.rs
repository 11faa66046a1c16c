//! What an expression reads and gives.
//!
//! A value borrows from the message or the program wherever it can: reading and comparing allocates nothing.
//! "No data" is not a value; it is the absence of one, `None`.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::{self, Display, Formatter};

use super::number;

/// A value of the expression language.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// JSON's `null`: there, but nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A JSON number without fraction or exponent that fits 64 bits, or an int of the expression.
    Int(i64),
    /// Any other number; always finite.
    Double(f64),
    /// Text.
    Str(Cow<'a, str>),
    /// A list, of which only the number of items is known.
    List(usize),
    /// An object, of which only the number of keys is known, one written twice counted twice.
    Map(usize),
}

impl Value<'_> {
    /// The same value, borrowed from this one.
    pub fn borrowed(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::Int(*value),
            Self::Double(value) => Value::Double(*value),
            Self::Str(text) => Value::Str(Cow::Borrowed(text)),
            Self::List(items) => Value::List(*items),
            Self::Map(keys) => Value::Map(*keys),
        }
    }

    /// The same value with a text of its own, to be kept beyond the message.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Int(value) => Value::Int(value),
            Self::Double(value) => Value::Double(value),
            Self::Str(text) => Value::Str(Cow::Owned(text.into_owned())),
            Self::List(items) => Value::List(items),
            Self::Map(keys) => Value::Map(keys),
        }
    }

    /// Whether the two are equal; no data if they are of different kinds, or if one is a list or an object.
    pub(super) fn equals(&self, other: &Self) -> Option<bool> {
        match (self, other) {
            (Self::Null, Self::Null) => Some(true),
            (Self::Bool(left), Self::Bool(right)) => Some(left == right),
            (Self::Str(left), Self::Str(right)) => Some(left == right),
            _ => Some(self.numeric_order(other)?.is_eq()),
        }
    }

    /// The order of two numbers or two strings; no data for anything else.
    pub(super) fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Str(left), Self::Str(right)) => Some(left.cmp(right)),
            _ => self.numeric_order(other),
        }
    }

    fn numeric_order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(left), Self::Int(right)) => Some(left.cmp(right)),
            (Self::Double(left), Self::Double(right)) => left.partial_cmp(right),
            (Self::Int(left), Self::Double(right)) => number::order(*left, *right),
            (Self::Double(left), Self::Int(right)) => {
                number::order(*right, *left).map(Ordering::reverse)
            }
            _ => None,
        }
    }
}

/// As annotations and `string(…)` print it: numbers in plain digits from 0.00001 up to 10^16, strings as they are.
impl Display for Value<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Double(value) => {
                let size = value.abs();
                if size != 0.0 && !(1e-5..1e16).contains(&size) {
                    write!(f, "{value:e}")
                } else {
                    write!(f, "{value}")
                }
            }
            Self::Str(text) => f.write_str(text),
            Self::List(items) => write!(f, "(list of {items})"),
            Self::Map(keys) => write!(f, "(object of {keys})"),
        }
    }
}
