//! One pass over the bytes of a message, for all the fields that any expression names.
//!
//! The visitor walks the JSON along the plan's tree and lets serde_json skip, unparsed, whatever the tree does not
//! name; texts without escapes are borrowed from the message. If a key is written twice the last one counts, as it does
//! for most readers of JSON. A message that cannot be read leaves every slot empty: no data, never half of it.

use std::borrow::Cow;
use std::fmt::{self, Formatter};

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use smallvec::SmallVec;

use super::paths::{FieldPlan, PlanNode, SlotId};
use super::value::Value;

/// What a message holds in the place of one field; `None` if it has no such field.
pub type Slot<'j> = Option<Value<'j>>;

/// The fields of one message, in the order of the plan's slots.
///
/// Up to eight live inside, without an allocation.
#[derive(Debug, Clone, Default)]
pub struct Slots<'j> {
    values: SmallVec<[Slot<'j>; 8]>,
}

impl<'j> Slots<'j> {
    /// The slots as a slice, as [`Inputs`](super::Inputs) takes them.
    pub fn as_slice(&self) -> &[Slot<'j>] {
        &self.values
    }

    /// The value of one field; none if the message does not have it.
    pub fn get(&self, slot: SlotId) -> Option<&Value<'j>> {
        self.values.get(slot.index())?.as_ref()
    }

    fn clear(&mut self, len: usize) {
        self.values.clear();
        self.values.resize(len, None);
    }

    fn set(&mut self, slot: Option<SlotId>, value: impl FnOnce() -> Value<'j>) {
        if let Some(slot) = slot
            && let Some(place) = self.values.get_mut(slot.index())
        {
            *place = Some(value());
        }
    }
}

/// The message could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the payload is not readable as JSON: {0}")]
pub struct ExtractError(#[from] serde_json::Error);

impl FieldPlan {
    /// Slots for this plan, all empty: what a timer sees, which has no message.
    pub fn slots<'j>(&self) -> Slots<'j> {
        let mut slots = Slots::default();
        slots.clear(self.len());
        slots
    }

    /// Reads the plan's fields from `payload` into `slots`, whatever they held before. A plan of no fields does not
    /// look at the payload.
    ///
    /// # Errors
    /// If `payload` is not one JSON value or a named number is beyond a double; then all slots are empty.
    pub fn extract<'j>(
        &self,
        payload: &'j [u8],
        slots: &mut Slots<'j>,
    ) -> Result<(), ExtractError> {
        slots.clear(self.len());
        if self.is_empty() {
            return Ok(());
        }
        let mut json = serde_json::Deserializer::from_slice(payload);
        let read = self
            .at(0, slots)
            .deserialize(&mut json)
            .and_then(|()| json.end());
        if let Err(error) = read {
            slots.clear(self.len());
            return Err(error.into());
        }
        Ok(())
    }

    fn at<'p, 's, 'j>(&'p self, node: usize, slots: &'s mut Slots<'j>) -> Reader<'p, 's, 'j> {
        Reader {
            plan: self,
            node: &self.nodes[node],
            slots,
        }
    }
}

/// Reads the value at one place of the plan.
struct Reader<'p, 's, 'j> {
    plan: &'p FieldPlan,
    node: &'p PlanNode,
    slots: &'s mut Slots<'j>,
}

impl<'j> Reader<'_, '_, 'j> {
    fn set(self, value: impl FnOnce() -> Value<'j>) {
        self.slots.set(self.node.slot, value);
    }
}

impl<'j> DeserializeSeed<'j> for Reader<'_, '_, 'j> {
    type Value = ();

    fn deserialize<D: Deserializer<'j>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'j> Visitor<'j> for Reader<'_, '_, 'j> {
    type Value = ();

    fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.set(|| Value::Null);
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.set(|| Value::Bool(value));
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.set(|| Value::Int(value));
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.set(|| i64::try_from(value).map_or(Value::Double(value as f64), Value::Int));
        Ok(())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.set(|| Value::Double(value));
        Ok(())
    }

    fn visit_borrowed_str<E: Error>(self, value: &'j str) -> Result<(), E> {
        self.set(|| Value::Str(Cow::Borrowed(value)));
        Ok(())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.set(|| Value::Str(Cow::Owned(value.to_owned())));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'j>>(self, mut list: A) -> Result<(), A::Error> {
        let mut wanted = self.node.items.iter().peekable();
        let mut len = 0_usize;
        loop {
            let more = match wanted.next_if(|(index, _)| *index as usize == len) {
                Some((_, child)) => list
                    .next_element_seed(self.plan.at(*child, self.slots))?
                    .is_some(),
                None => list.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                break;
            }
            len += 1;
        }
        self.set(|| Value::List(len));
        Ok(())
    }

    fn visit_map<A: MapAccess<'j>>(self, mut map: A) -> Result<(), A::Error> {
        let mut len = 0_usize;
        while let Some(child) = map.next_key_seed(Key(self.node))? {
            match child {
                Some(child) => {
                    for slot in &self.plan.nodes[child].below {
                        self.slots.values[slot.index()] = None;
                    }
                    map.next_value_seed(self.plan.at(child, self.slots))?;
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            len += 1;
        }
        self.set(|| Value::Map(len));
        Ok(())
    }
}

/// Reads a key as the plan's node for it. As bytes: a key that is wanted is valid UTF-8, and no other need be.
struct Key<'p>(&'p PlanNode);

impl<'j> DeserializeSeed<'j> for Key<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'j>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_bytes(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_bytes<E: Error>(self, key: &[u8]) -> Result<Self::Value, E> {
        let known = self.0.keys.iter().find(|(name, _)| name.as_bytes() == key);
        Ok(known.map(|(_, child)| *child))
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        self.visit_bytes(key.as_bytes())
    }
}
