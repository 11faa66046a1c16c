//! What a message said when a condition held, kept for the timer at which the alert fires.
//!
//! A timer has no message, but the alert that it makes is to say what was measured. So a pending alert keeps the fields
//! that its rule's texts print, and no others.

use serde::{Deserialize, Serialize};
use telemill_engine::topology::expr::{Slot, SlotId, Value};

/// The longest text kept of one field, in bytes; a longer one is cut.
const MAX_TEXT: usize = 256;

/// The fields of one message that a rule's texts print.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Evidence {
    /// Which fields, by a hash of their paths: kept evidence says nothing once the rule's texts print others.
    shape: u64,
    facts: Vec<Option<Fact>>,
}

/// A [`Value`] of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Fact {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Str(Box<str>),
    List(usize),
    Map(usize),
}

/// Which fields a rule keeps.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    pub(super) shape: u64,
    pub(super) slots: Vec<SlotId>,
}

impl Wanted {
    /// Keeps what they are now; nothing where no field is wanted.
    pub(super) fn keep(&self, slots: &[Slot<'_>]) -> Option<Box<Evidence>> {
        let fact = |slot: &SlotId| slots.get(slot.index())?.as_ref().map(Fact::of);
        (!self.slots.is_empty())
            .then(|| Box::new(Evidence { shape: self.shape, facts: self.slots.iter().map(fact).collect() }))
    }

    /// Puts what was kept back in its place.
    pub(super) fn recall<'e>(&self, evidence: Option<&'e Evidence>, slots: &mut [Slot<'e>]) {
        let Some(evidence) = evidence.filter(|evidence| evidence.shape == self.shape) else { return };
        for (slot, fact) in self.slots.iter().zip(&evidence.facts) {
            if let Some(place) = slots.get_mut(slot.index()) {
                *place = fact.as_ref().map(Fact::value);
            }
        }
    }
}

impl Fact {
    fn of(value: &Value<'_>) -> Fact {
        match value {
            Value::Null => Fact::Null,
            Value::Bool(value) => Fact::Bool(*value),
            Value::Int(value) => Fact::Int(*value),
            Value::Double(value) => Fact::Double(*value),
            Value::Str(text) => Fact::Str(text[..text.floor_char_boundary(MAX_TEXT)].into()),
            Value::List(items) => Fact::List(*items),
            Value::Map(keys) => Fact::Map(*keys),
        }
    }

    fn value(&self) -> Value<'_> {
        match self {
            Fact::Null => Value::Null,
            Fact::Bool(value) => Value::Bool(*value),
            Fact::Int(value) => Value::Int(*value),
            Fact::Double(value) => Value::Double(*value),
            Fact::Str(text) => Value::Str((&**text).into()),
            Fact::List(items) => Value::List(*items),
            Fact::Map(keys) => Value::Map(*keys),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use telemill_engine::topology::expr::{Fields, Path};

    #[test]
    fn what_is_kept_comes_back_in_its_place() {
        let mut fields = Fields::new();
        let paths = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let slots = paths.map(|name| fields.add(&Path::parse(&format!("payload.{name}")).unwrap())).to_vec();
        let plan = fields.freeze();
        let long = "ä".repeat(MAX_TEXT);
        let message = format!(r#"{{"a":null,"b":true,"c":-3,"d":2.5,"e":"{long}","f":[1,2],"g":{{"x":1}}}}"#);
        let mut read = plan.slots();
        plan.extract(message.as_bytes(), &mut read).unwrap();

        let wanted = Wanted { shape: 7, slots };
        let kept = wanted.keep(read.as_slice()).unwrap();
        let kept: Evidence = postcard::from_bytes(&postcard::to_stdvec(&kept).unwrap()).unwrap();
        let mut back = vec![None; plan.len()];
        wanted.recall(Some(&kept), &mut back);
        let mut expect = read.as_slice().to_vec();
        expect[4] = Some(Value::Str("ä".repeat(MAX_TEXT / 2).into()));
        assert_eq!(back, expect);

        let other = Wanted { shape: 8, ..wanted };
        let mut nothing = vec![None; plan.len()];
        other.recall(Some(&kept), &mut nothing);
        assert!(nothing.iter().all(Option::is_none), "the rule's texts print other fields now");
        assert_eq!(Wanted::default().keep(read.as_slice()), None);
    }
}
