//! Types that are written as one string and parsed.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{Deserializer, Error, Visitor};

/// Deserializes a type that is written as one string, such as a duration, through its `FromStr`.
///
/// `expecting` completes "expected …". `hint` says how such a text is written, and must not repeat the value.
/// `example` is any text that parses: it stands in for a faulty value while further problems are looked for.
///
/// # Errors
/// The deserializer's, and one with the parser's message when the text does not parse.
pub fn parse_text<'de, T, D>(
    deserializer: D,
    expecting: &'static str,
    hint: &'static str,
    example: &'static str,
) -> Result<T, D::Error>
where
    T: FromStr<Err: fmt::Display>,
    D: Deserializer<'de>,
{
    // A stand-in for the text inside a newtype is the newtype's name.
    deserializer.deserialize_newtype_struct(example, Text { expecting, hint, parsed: PhantomData })
}

struct Text<T> {
    expecting: &'static str,
    hint: &'static str,
    parsed: PhantomData<T>,
}

impl<'de, T: FromStr<Err: fmt::Display>> Visitor<'de> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(self)
        } else {
            deserializer.deserialize_str(self)
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(|error| E::custom(format_args!("{error}\n{}", self.hint)))
    }

    // A number is most likely a text that lacks its unit, and the parser says so.
    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}
