//! Numbers: ints and doubles that compare and compute with each other.
//!
//! Comparisons are exact, also where an int has no double of its own. Whatever has no finite result (a division by
//! zero, an overflow) is no data, so a [`Value::Double`] is never infinite or NaN.

use std::cmp::Ordering;

use super::value::Value;

/// An operation on two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Sub,
    Mul,
    /// Of ints, towards zero.
    DivInt,
    /// Of any numbers, with a fraction.
    DivReal,
    Rem,
}

/// Ints up to this magnitude have a double of their own.
const EXACT: i64 = 1 << 53;
/// 2^63, one above the highest int.
const INT_END: f64 = 9_223_372_036_854_775_808.0;

/// The order of an int and a double, as the real numbers they are.
pub(super) fn order(int: i64, double: f64) -> Option<Ordering> {
    if (-EXACT..=EXACT).contains(&int) {
        (int as f64).partial_cmp(&double)
    } else if double.is_nan() {
        None
    } else if double >= INT_END {
        Some(Ordering::Less)
    } else if double < -INT_END {
        Some(Ordering::Greater)
    } else {
        // An int beyond `EXACT` can only equal a double beyond it, and those are whole.
        Some(int.cmp(&(double as i64)))
    }
}

/// `int` as a double if that changes nothing.
pub(super) fn exact(int: i64) -> Option<f64> {
    (-EXACT..=EXACT).contains(&int).then_some(int as f64)
}

/// `double` without its fraction, if it is in an int's range.
pub(super) fn truncate(double: f64) -> Option<i64> {
    (-INT_END..INT_END)
        .contains(&double)
        .then_some(double as i64)
}

/// The result of `op` on two numbers; no data for anything else, or if there is no finite one.
pub(super) fn compute(
    op: Arithmetic,
    left: &Value<'_>,
    right: &Value<'_>,
) -> Option<Value<'static>> {
    match op {
        Arithmetic::DivReal => double(real(left)? / real(right)?),
        Arithmetic::DivInt => int(i64::checked_div, left, right),
        Arithmetic::Rem => int(i64::checked_rem, left, right),
        Arithmetic::Add => either(left, right, i64::checked_add, |left, right| left + right),
        Arithmetic::Sub => either(left, right, i64::checked_sub, |left, right| left - right),
        Arithmetic::Mul => either(left, right, i64::checked_mul, |left, right| left * right),
    }
}

/// The number with its sign turned.
pub(super) fn negate(value: &Value<'_>) -> Option<Value<'static>> {
    match value {
        Value::Int(value) => value.checked_neg().map(Value::Int),
        Value::Double(value) => Some(Value::Double(-value)),
        _ => None,
    }
}

/// A double, if it is finite.
pub(super) fn double(value: f64) -> Option<Value<'static>> {
    value.is_finite().then_some(Value::Double(value))
}

/// The number as a double, rounded where it has none of its own.
pub(super) fn real(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Int(value) => Some(*value as f64),
        Value::Double(value) => Some(*value),
        _ => None,
    }
}

fn either(
    left: &Value<'_>,
    right: &Value<'_>,
    ints: fn(i64, i64) -> Option<i64>,
    doubles: fn(f64, f64) -> f64,
) -> Option<Value<'static>> {
    if let (Value::Int(left), Value::Int(right)) = (left, right) {
        return ints(*left, *right).map(Value::Int);
    }
    double(doubles(real(left)?, real(right)?))
}

fn int(
    ints: fn(i64, i64) -> Option<i64>,
    left: &Value<'_>,
    right: &Value<'_>,
) -> Option<Value<'static>> {
    ints(whole(left)?, whole(right)?).map(Value::Int)
}

/// The number as an int, if it is whole: JSON may write 80 as 80.0.
fn whole(value: &Value<'_>) -> Option<i64> {
    match value {
        Value::Int(value) => Some(*value),
        Value::Double(value) if value.fract() == 0.0 => truncate(*value),
        _ => None,
    }
}
