//! The deserializer of a mapping's key.

use serde::de::value::StrDeserializer;
use serde::de::{Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::LOCATED;
use super::access::LocatedReader;
use super::error::{DecodeError, Loose};
use crate::topology::document::code::codes;
use crate::topology::document::node::Key;

/// Reads a key: a string, or a number or a word made of one.
#[derive(Clone, Copy)]
pub(super) struct KeyReader<'a>(pub(super) &'a Key);

impl<'a> KeyReader<'a> {
    fn text(self) -> StrDeserializer<'a, DecodeError> {
        self.0.name.as_ref().into_deserializer()
    }
}

macro_rules! integers {
    ($($method:ident $visit:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            let Ok(number) = self.0.name.parse() else {
                let expected = "a whole number as the key".to_owned();
                return Err(DecodeError::Loose(Loose::Expected { code: codes::WRONG_TYPE, expected }));
            };
            visitor.$visit(number)
        })*
    };
}

impl<'de> Deserializer<'de> for KeyReader<'_> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_str(&self.0.name)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match name {
            LOCATED => visitor.visit_seq(LocatedReader::new(self.0.span, self)),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.text().deserialize_enum(name, variants, visitor)
    }

    integers! {
        deserialize_i8 visit_i8
        deserialize_i16 visit_i16
        deserialize_i32 visit_i32
        deserialize_i64 visit_i64
        deserialize_i128 visit_i128
        deserialize_u8 visit_u8
        deserialize_u16 visit_u16
        deserialize_u32 visit_u32
        deserialize_u64 visit_u64
        deserialize_u128 visit_u128
    }

    forward_to_deserialize_any! {
        bool f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier
        ignored_any
    }
}
