//! Checked tree to compiled form.
//!
//! Paths become slots, chains of `&&` and `||` one node each, a field against a number the node made for it, and what
//! consists of constants is computed now. A constant part without a result could never be anything but no data, so it
//! is an error.

use super::ast::BinaryOp;
use super::check::{Checked, CheckedKind};
use super::error::{ExprError, codes};
use super::eval::Inputs;
use super::functions::Function;
use super::node::{Cond, Lowered, Relation, Term, Test};
use super::number::{self, Arithmetic};
use super::paths::{Fields, Path};
use super::types::Type;
use super::value::Value;

/// Lowers one expression, adding what it reads to `fields`; the problems found while folding gather in `errors`.
pub(super) struct Compiler<'f> {
    pub(super) fields: &'f mut Fields,
    pub(super) errors: Vec<ExprError>,
}

impl Compiler<'_> {
    pub(super) fn test(&mut self, checked: &Checked) -> Test {
        let test = match &checked.kind {
            CheckedKind::Const(Value::Bool(value)) => Test::Const(*value),
            CheckedKind::Has(path) => Test::Has(self.fields.add(path)),
            CheckedKind::Not(inner) => Test::Not(Box::new(self.test(inner))),
            CheckedKind::Binary { op, left, right } => match relation(*op) {
                Some(relation) => self.comparison(relation, left, right),
                None => match op {
                    BinaryOp::And => Test::And(self.chain(*op, checked)),
                    BinaryOp::Or => Test::Or(self.chain(*op, checked)),
                    _ => Test::Term(Box::new(self.term(checked))),
                },
            },
            CheckedKind::In { needle, items } => self.contained(needle, items),
            CheckedKind::Cond {
                condition,
                then,
                otherwise,
            } => Test::Cond(Box::new(Cond {
                test: self.test(condition),
                then: self.test(then),
                otherwise: self.test(otherwise),
            })),
            CheckedKind::Call { function, args } => match (function.lowered(), args.as_slice()) {
                (Lowered::Text(relation), [subject, part]) => Test::Text {
                    relation,
                    subject: self.term(subject),
                    part: self.term(part),
                },
                _ => Test::Term(Box::new(self.term(checked))),
            },
            CheckedKind::Const(_)
            | CheckedKind::Path(_)
            | CheckedKind::Input(_)
            | CheckedKind::Neg(_) => Test::Term(Box::new(self.term(checked))),
        };
        if !test.is_constant() {
            return test;
        }
        match test.eval(&Inputs::NONE) {
            Some(value) => Test::Const(value),
            None => {
                self.no_value(checked);
                test
            }
        }
    }

    pub(super) fn term(&mut self, checked: &Checked) -> Term {
        let term = match &checked.kind {
            CheckedKind::Const(value) => return Term::Const(value.clone()),
            CheckedKind::Path(path) => return Term::Slot(self.fields.add(path)),
            CheckedKind::Input(input) => return Term::Input(*input),
            CheckedKind::Neg(inner) => Term::Neg(Box::new(self.term(inner))),
            CheckedKind::Binary { op, left, right } => match arithmetic(*op, left.ty, right.ty) {
                Some(op) => {
                    let operands = Box::new([self.term(left), self.term(right)]);
                    Term::Arithmetic { op, operands }
                }
                None if *op == BinaryOp::Add => {
                    Term::Sum(Box::new([self.term(left), self.term(right)]))
                }
                None => return self.test_as_term(checked),
            },
            CheckedKind::Cond {
                condition,
                then,
                otherwise,
            } => Term::Cond(Box::new(Cond {
                test: self.test(condition),
                then: self.term(then),
                otherwise: self.term(otherwise),
            })),
            CheckedKind::Call { function, args } => match (function.lowered(), args.as_slice()) {
                (Lowered::Convert(convert), [operand]) => convert(Box::new(self.term(operand))),
                _ => return self.test_as_term(checked),
            },
            CheckedKind::Has(_) | CheckedKind::Not(_) | CheckedKind::In { .. } => {
                return self.test_as_term(checked);
            }
        };
        if !term.is_constant() {
            return term;
        }
        match term.eval(&Inputs::NONE).map(Value::into_owned) {
            Some(value) => Term::Const(value),
            None => {
                self.no_value(checked);
                term
            }
        }
    }

    fn test_as_term(&mut self, checked: &Checked) -> Term {
        match self.test(checked) {
            Test::Const(value) => Term::Const(Value::Bool(value)),
            test => Term::Test(Box::new(test)),
        }
    }

    /// Notes that a constant part has no result, unless a part of that part was already said to have none.
    fn no_value(&mut self, checked: &Checked) {
        let inside = |error: &ExprError| {
            checked.span.start <= error.span.start && error.span.end <= checked.span.end
        };
        if !self.errors.iter().any(inside) {
            self.errors.push(
                ExprError::new(
                    codes::NO_VALUE,
                    checked.span.clone(),
                    "this part has no value, whatever the message holds",
                )
                .hint("look for a division by zero, an overflow, or a text that is no number"),
            );
        }
    }

    /// The operands of a chain of one operator, from the left.
    fn chain(&mut self, op: BinaryOp, checked: &Checked) -> Box<[Test]> {
        let mut pending = vec![checked];
        let mut tests = Vec::new();
        while let Some(next) = pending.pop() {
            match &next.kind {
                CheckedKind::Binary {
                    op: found,
                    left,
                    right,
                } if *found == op => {
                    pending.push(right);
                    pending.push(left);
                }
                _ => tests.push(self.test(next)),
            }
        }
        tests.into_boxed_slice()
    }

    fn comparison(&mut self, relation: Relation, left: &Checked, right: &Checked) -> Test {
        let wanted = relation == Relation::Equal;
        if is_null(right) || is_null(left) {
            let term = self.term(if is_null(right) { left } else { right });
            return Test::IsNull { term, wanted };
        }
        let (left, right) = (self.term(left), self.term(right));
        let against_number = match (&left, &right) {
            (Term::Slot(slot), Term::Const(number)) => Some((*slot, relation, exact(number))),
            (Term::Const(number), Term::Slot(slot)) => {
                Some((*slot, relation.mirrored(), exact(number)))
            }
            _ => None,
        };
        match against_number {
            Some((slot, relation, Some(number))) => Test::SlotNumber {
                slot,
                relation,
                number,
            },
            _ => Test::Compare {
                relation,
                left,
                right,
            },
        }
    }

    fn contained(&mut self, needle: &Checked, items: &[Checked]) -> Test {
        let needle = self.term(needle);
        let values = items.iter().filter(|item| !is_null(item));
        Test::In {
            needle,
            items: values.map(|item| self.term(item)).collect(),
            null: items.iter().any(is_null),
        }
    }
}

/// The first field that the expression compares, or else the first that it reads.
pub(super) fn primary(checked: &Checked) -> Option<&Path> {
    first(checked, true).or_else(|| first(checked, false))
}

/// The first field, in the order of the text; with `compared`, only inside of comparisons.
fn first(checked: &Checked, compared: bool) -> Option<&Path> {
    let (inside, parts): (bool, Vec<&Checked>) = match &checked.kind {
        CheckedKind::Path(path) => return (!compared).then_some(path),
        CheckedKind::Const(_) | CheckedKind::Input(_) | CheckedKind::Has(_) => return None,
        CheckedKind::Not(inner) | CheckedKind::Neg(inner) => (false, vec![inner]),
        CheckedKind::Binary { op, left, right } => (relation(*op).is_some(), vec![left, right]),
        CheckedKind::In { needle, items } => (true, [&**needle].into_iter().chain(items).collect()),
        CheckedKind::Cond {
            condition,
            then,
            otherwise,
        } => (false, vec![condition, then, otherwise]),
        CheckedKind::Call { function, args } => (
            matches!(
                function,
                Function::StartsWith | Function::EndsWith | Function::Contains
            ),
            args.iter().collect(),
        ),
    };
    parts
        .into_iter()
        .find_map(|part| first(part, compared && !inside))
}

impl Test {
    /// Whether all its parts are constants, though it is none itself.
    fn is_constant(&self) -> bool {
        match self {
            Self::Compare { left, right, .. } => left.is_const() && right.is_const(),
            Self::IsNull { term, .. } => term.is_const(),
            Self::In { needle, items, .. } => needle.is_const() && items.iter().all(Term::is_const),
            Self::Text { subject, part, .. } => subject.is_const() && part.is_const(),
            Self::Not(test) => matches!(**test, Self::Const(_)),
            Self::And(tests) | Self::Or(tests) => {
                tests.iter().all(|test| matches!(test, Self::Const(_)))
            }
            Self::Const(_)
            | Self::SlotNumber { .. }
            | Self::Has(_)
            | Self::Cond(_)
            | Self::Term(_) => false,
        }
    }
}

impl Term {
    fn is_const(&self) -> bool {
        matches!(self, Self::Const(_))
    }

    /// Whether all its parts are constants, though it is none itself.
    fn is_constant(&self) -> bool {
        match self {
            Self::Neg(term)
            | Self::Size(term)
            | Self::ToDouble(term)
            | Self::ToInt(term)
            | Self::ToText(term) => term.is_const(),
            Self::Arithmetic { operands, .. } | Self::Sum(operands) => {
                operands.iter().all(Self::is_const)
            }
            Self::Const(_) | Self::Slot(_) | Self::Input(_) | Self::Cond(_) | Self::Test(_) => {
                false
            }
        }
    }
}

fn is_null(checked: &Checked) -> bool {
    matches!(checked.kind, CheckedKind::Const(Value::Null))
}

/// The number as a double that equals it.
fn exact(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Int(value) => number::exact(*value),
        Value::Double(value) => Some(*value),
        _ => None,
    }
}

fn relation(op: BinaryOp) -> Option<Relation> {
    Some(match op {
        BinaryOp::Less => Relation::Less,
        BinaryOp::LessEq => Relation::LessEq,
        BinaryOp::Greater => Relation::Greater,
        BinaryOp::GreaterEq => Relation::GreaterEq,
        BinaryOp::Equal => Relation::Equal,
        BinaryOp::NotEqual => Relation::NotEqual,
        _ => return None,
    })
}

/// The operation on numbers that `op` is; none for a sum that may be one of texts. A division is one of ints only if
/// both sides are ints whatever the message holds, since a device may write 81 and 81.0 for the same reading.
fn arithmetic(op: BinaryOp, left: Type, right: Type) -> Option<Arithmetic> {
    Some(match op {
        BinaryOp::Add if left.is_numeric() || right.is_numeric() => Arithmetic::Add,
        BinaryOp::Sub => Arithmetic::Sub,
        BinaryOp::Mul => Arithmetic::Mul,
        BinaryOp::Div if left == Type::Int && right == Type::Int => Arithmetic::DivInt,
        BinaryOp::Div => Arithmetic::DivReal,
        BinaryOp::Rem => Arithmetic::Rem,
        _ => return None,
    })
}
