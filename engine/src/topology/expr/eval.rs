//! Evaluation of the compiled form.
//!
//! `None` is "no data" everywhere: a missing field, a value of the wrong type, a result that is no finite number. It
//! passes through every operator except `&&` and `||`, which do without it when the other side decides, and `?:`,
//! which looks only at the branch it takes. Nothing here panics, and on numbers and borrowed texts nothing allocates.

use std::borrow::Cow;

use super::MAX_STRING;
use super::extract::Slot;
use super::node::{Cond, Relation, Term, Test, TextRelation};
use super::number;
use super::paths::SlotId;
use super::scope::Input;
use super::value::Value;

/// What one evaluation sees.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The device that the record or timer belongs to.
    pub device_id: &'a str,
    /// The record's kind: `data`, `hello`, …
    pub kind: &'a str,
    /// The record's time of arrival in Unix seconds.
    pub timestamp: i64,
    /// The fields of the message, read by the plan that the program was compiled for.
    pub slots: &'a [Slot<'a>],
}

impl<'a> Inputs<'a> {
    /// For constants, which see nothing.
    pub(super) const NONE: Inputs<'static> = Inputs {
        device_id: "",
        kind: "",
        timestamp: 0,
        slots: &[],
    };

    #[inline]
    fn slot(&self, slot: SlotId) -> Option<&'a Value<'a>> {
        self.slots.get(slot.index())?.as_ref()
    }
}

impl Test {
    pub(super) fn eval(&self, inputs: &Inputs<'_>) -> Option<bool> {
        match self {
            Self::Const(value) => Some(*value),
            Self::SlotNumber {
                slot,
                relation,
                number,
            } => {
                let order = match inputs.slot(*slot)? {
                    Value::Double(value) => value.partial_cmp(number)?,
                    Value::Int(value) => number::order(*value, *number)?,
                    _ => return None,
                };
                Some(relation.holds(order))
            }
            Self::Compare {
                relation,
                left,
                right,
            } => compare(*relation, &left.eval(inputs)?, &right.eval(inputs)?),
            Self::IsNull { term, wanted } => {
                let null = matches!(term.eval(inputs)?, Value::Null);
                Some(null == *wanted)
            }
            Self::In {
                needle,
                items,
                null,
            } => contained(&needle.eval(inputs)?, items, *null, inputs),
            Self::Has(slot) => Some(inputs.slot(*slot).is_some()),
            Self::Text {
                relation,
                subject,
                part,
            } => match (subject.eval(inputs)?, part.eval(inputs)?) {
                (Value::Str(subject), Value::Str(part)) => Some(match relation {
                    TextRelation::StartsWith => subject.starts_with(part.as_ref()),
                    TextRelation::EndsWith => subject.ends_with(part.as_ref()),
                    TextRelation::Contains => subject.contains(part.as_ref()),
                }),
                _ => None,
            },
            Self::Not(test) => test.eval(inputs).map(|value| !value),
            Self::And(tests) => decided_by(false, tests, inputs),
            Self::Or(tests) => decided_by(true, tests, inputs),
            Self::Cond(cond) => cond.branch(inputs)?.eval(inputs),
            Self::Term(term) => match term.eval(inputs)? {
                Value::Bool(value) => Some(value),
                _ => None,
            },
        }
    }
}

impl Term {
    pub(super) fn eval<'a>(&'a self, inputs: &Inputs<'a>) -> Option<Value<'a>> {
        match self {
            Self::Const(value) => Some(value.borrowed()),
            Self::Slot(slot) => inputs.slot(*slot).map(Value::borrowed),
            Self::Input(input) => Some(match input {
                Input::DeviceId => Value::Str(Cow::Borrowed(inputs.device_id)),
                Input::Kind => Value::Str(Cow::Borrowed(inputs.kind)),
                Input::Timestamp => Value::Int(inputs.timestamp),
            }),
            Self::Neg(term) => number::negate(&term.eval(inputs)?),
            Self::Arithmetic { op, operands } => {
                let [left, right] = &**operands;
                number::compute(*op, &left.eval(inputs)?, &right.eval(inputs)?)
            }
            Self::Sum(operands) => {
                let [left, right] = &**operands;
                sum(left.eval(inputs)?, right.eval(inputs)?)
            }
            Self::Size(term) => size(&term.eval(inputs)?),
            Self::ToDouble(term) => to_double(&term.eval(inputs)?),
            Self::ToInt(term) => to_int(&term.eval(inputs)?),
            Self::ToText(term) => to_text(term.eval(inputs)?),
            Self::Cond(cond) => cond.branch(inputs)?.eval(inputs),
            Self::Test(test) => test.eval(inputs).map(Value::Bool),
        }
    }
}

impl<T> Cond<T> {
    fn branch(&self, inputs: &Inputs<'_>) -> Option<&T> {
        let taken = if self.test.eval(inputs)? {
            &self.then
        } else {
            &self.otherwise
        };
        Some(taken)
    }
}

/// `decisive` if any test is; else no data if any has none.
fn decided_by(decisive: bool, tests: &[Test], inputs: &Inputs<'_>) -> Option<bool> {
    let mut result = Some(!decisive);
    for test in tests {
        match test.eval(inputs) {
            Some(value) if value == decisive => return Some(decisive),
            Some(_) => {}
            None => result = None,
        }
    }
    result
}

fn compare(relation: Relation, left: &Value<'_>, right: &Value<'_>) -> Option<bool> {
    match relation {
        Relation::Equal => left.equals(right),
        Relation::NotEqual => left.equals(right).map(|equal| !equal),
        _ => left.order(right).map(|order| relation.holds(order)),
    }
}

/// As if each item were compared by `==` and the answers joined by `||`; but, as in CEL, a list that has an item
/// without data has none itself.
fn contained(needle: &Value<'_>, items: &[Term], null: bool, inputs: &Inputs<'_>) -> Option<bool> {
    let mut found = Some(null && *needle == Value::Null);
    for item in items {
        let item = item.eval(inputs)?;
        if found != Some(true) {
            found = match needle.equals(&item) {
                Some(false) => found,
                answer => answer,
            };
        }
    }
    found
}

fn sum<'a>(left: Value<'a>, right: Value<'a>) -> Option<Value<'a>> {
    match (left, right) {
        (Value::Str(left), Value::Str(right)) => {
            let joined = left.len() + right.len() <= MAX_STRING;
            joined.then(|| Value::Str(left + right))
        }
        (left, right) => number::compute(number::Arithmetic::Add, &left, &right),
    }
}

fn size(value: &Value<'_>) -> Option<Value<'static>> {
    let size = match value {
        Value::Str(text) => text.chars().count(),
        Value::List(items) => *items,
        Value::Map(keys) => *keys,
        _ => return None,
    };
    i64::try_from(size).ok().map(Value::Int)
}

fn to_double(value: &Value<'_>) -> Option<Value<'static>> {
    match value {
        Value::Str(text) => number::double(text.parse().ok()?),
        number => number::real(number).map(Value::Double),
    }
}

fn to_int(value: &Value<'_>) -> Option<Value<'static>> {
    let int = match value {
        Value::Int(value) => *value,
        Value::Double(value) => number::truncate(*value)?,
        Value::Str(text) => text.parse().ok()?,
        _ => return None,
    };
    Some(Value::Int(int))
}

fn to_text(value: Value<'_>) -> Option<Value<'_>> {
    match value {
        Value::Str(_) => Some(value),
        Value::Int(_) | Value::Double(_) | Value::Bool(_) => {
            Some(Value::Str(Cow::Owned(value.to_string())))
        }
        _ => None,
    }
}
