//! The elements of lists, the fields of mappings and the variants of enums.

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::context::{Context, NodeId, Status};
use super::error::{DecodeError, Owner};
use super::key::KeyReader;
use super::reader::{Reader, read_value, stand_in};
use crate::topology::document::code::codes;
use crate::topology::document::node::{Member, Node};
use crate::topology::document::problem::Problem;
use crate::topology::document::source::Span;

/// The elements of a list, without those that are absent.
pub(super) struct ItemsReader<'a, 'p> {
    pub(super) context: &'a Context<'p>,
    pub(super) items: std::slice::Iter<'a, Node>,
}

impl<'de> SeqAccess<'de> for ItemsReader<'_, '_> {
    type Error = DecodeError;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, DecodeError> {
        let item = self.items.find(|item| self.context.status(item) != Status::Absent);
        item.map(|item| read_value(self.context, item, seed)).transpose()
    }
}

/// The keys and values of a mapping, without those that are absent or unknown, and then stand-ins for the missing.
pub(super) struct MembersReader<'a, 'p> {
    reader: Reader<'a, 'p>,
    fields: Option<&'static [&'static str]>,
    members: std::slice::Iter<'a, Member>,
    missing: std::vec::IntoIter<&'static str>,
    /// The value of the key that was given last; `None` for one that is missing.
    value: Option<&'a Node>,
}

impl<'a, 'p> MembersReader<'a, 'p> {
    /// Reads the mapping as a struct with these fields, or as a map with any keys.
    pub(super) fn new(reader: Reader<'a, 'p>, fields: Option<&'static [&'static str]>) -> Self {
        let missing = reader.context.missing_fields(reader.node).into_iter();
        MembersReader { reader, fields, members: reader.node.members().iter(), missing, value: None }
    }
}

impl<'de> MapAccess<'de> for MembersReader<'_, '_> {
    type Error = DecodeError;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, DecodeError> {
        let Reader { context, node } = self.reader;
        for member in self.members.by_ref() {
            match self.fields {
                Some(fields) if !fields.contains(&&*member.key.name) => context.unknown_field(node, member, fields),
                _ if context.status(&member.value) == Status::Absent => {}
                _ => {
                    self.value = Some(&member.value);
                    let key = seed.deserialize(KeyReader(&member.key));
                    return key.map(Some).map_err(|error| error.placed_at_key(node, member));
                }
            }
        }
        let Some(field) = self.missing.next() else {
            return Ok(None);
        };
        self.value = None;
        let key: StrDeserializer<'_, DecodeError> = field.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, DecodeError> {
        match self.value {
            Some(value) => read_value(self.reader.context, value, seed),
            None => stand_in(seed, Owner::Field(NodeId::of(self.reader.node))),
        }
    }
}

/// A variant: a word, or a mapping from the word to its content.
pub(super) struct EnumReader<'a, 'p> {
    pub(super) reader: Reader<'a, 'p>,
    pub(super) member: Option<&'a Member>,
}

impl<'de, 'a, 'p> EnumAccess<'de> for EnumReader<'a, 'p> {
    type Error = DecodeError;
    type Variant = VariantReader<'a, 'p>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), DecodeError> {
        let Reader { context, node } = self.reader;
        let (word, span) = match self.member {
            Some(member) => (&*member.key.name, member.key.span),
            None => (node.as_str().unwrap_or_default(), node.head()),
        };
        let name: StrDeserializer<'_, DecodeError> = word.into_deserializer();
        let variant = seed.deserialize(name).map_err(|error| error.placed_at(context, node, span))?;
        let content = self.member.map(|member| &member.value);
        // The name of a variant that exists is no secret.
        Ok((variant, VariantReader { reader: self.reader, word: word.to_owned(), content }))
    }
}

/// The content of a variant.
pub(super) struct VariantReader<'a, 'p> {
    reader: Reader<'a, 'p>,
    word: String,
    content: Option<&'a Node>,
}

impl<'a> VariantReader<'a, '_> {
    fn content(&self) -> Result<&'a Node, DecodeError> {
        self.content.ok_or_else(|| {
            let problem = Problem::new(codes::WRONG_TYPE, format!("`{}` needs a value", self.word))
                .hint(format!("write `{0}: …` as a mapping: `{{ {0}: … }}`", self.word));
            DecodeError::problem(self.reader.node, problem)
        })
    }
}

impl<'de> VariantAccess<'de> for VariantReader<'_, '_> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        match self.content {
            Some(content) if !content.is_null() && self.reader.context.status(content) == Status::Sound => {
                let problem = Problem::new(codes::WRONG_TYPE, format!("`{}` takes no value", self.word))
                    .hint(format!("write just `{}`", self.word));
                Err(DecodeError::problem(content, problem))
            }
            _ => Ok(()),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, DecodeError> {
        read_value(self.reader.context, self.content()?, seed)
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, DecodeError> {
        let content = self.content()?;
        read_value(self.reader.context, content, Tuple { length, visitor })
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let content = self.content()?;
        read_value(self.reader.context, content, Struct { fields, visitor })
    }
}

/// Asks for a tuple.
struct Tuple<V> {
    length: usize,
    visitor: V,
}

impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for Tuple<V> {
    type Value = V::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        deserializer.deserialize_tuple(self.length, self.visitor)
    }
}

/// Asks for a struct.
struct Struct<V> {
    fields: &'static [&'static str],
    visitor: V,
}

impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for Struct<V> {
    type Value = V::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        deserializer.deserialize_struct("", self.fields, self.visitor)
    }
}

/// What [`crate::topology::Located`] is read from: the start and end of its place, then the value.
pub(super) struct LocatedReader<D> {
    bounds: std::array::IntoIter<usize, 2>,
    value: Option<D>,
}

impl<D> LocatedReader<D> {
    pub(super) fn new(place: Span, value: D) -> Self {
        LocatedReader { bounds: [place.start, place.end].into_iter(), value: Some(value) }
    }
}

impl<'de, D: Deserializer<'de, Error = DecodeError>> SeqAccess<'de> for LocatedReader<D> {
    type Error = DecodeError;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, DecodeError> {
        match self.bounds.next() {
            Some(bound) => seed.deserialize(bound.into_deserializer()).map(Some),
            None => self.value.take().map(|value| seed.deserialize(value)).transpose(),
        }
    }
}
