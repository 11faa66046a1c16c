//! The compiled form: two kinds of tree, over slots.
//!
//! A [`Test`] is true, false or no data; a [`Term`] is a value or no data. Trees of plain enums rather than closures or
//! bytecode: what is asked most, a field against a number, is one node without a pointer to follow, everything else
//! costs a match and a call a node, and a program can be printed, compared and shared between threads. The names are
//! gone: a field is an index into the slots.

use std::cmp::Ordering;

use super::functions::Function;
use super::number::Arithmetic;
use super::paths::SlotId;
use super::scope::Input;
use super::value::Value;

/// A condition.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Test {
    Const(bool),
    /// A field against a number that a double holds exactly.
    SlotNumber {
        slot: SlotId,
        relation: Relation,
        number: f64,
    },
    Compare {
        relation: Relation,
        left: Term,
        right: Term,
    },
    /// `== null`, `!= null`: the one comparison that any value can answer.
    IsNull {
        term: Term,
        wanted: bool,
    },
    In {
        needle: Term,
        items: Box<[Term]>,
        /// Whether the list names `null`.
        null: bool,
    },
    Has(SlotId),
    Text {
        relation: TextRelation,
        subject: Term,
        part: Term,
    },
    Not(Box<Test>),
    And(Box<[Test]>),
    Or(Box<[Test]>),
    Cond(Box<Cond<Test>>),
    /// A field or a choice of fields that must turn out to be a bool.
    Term(Box<Term>),
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Term {
    Const(Value<'static>),
    Slot(SlotId),
    Input(Input),
    Neg(Box<Term>),
    Arithmetic {
        op: Arithmetic,
        operands: Box<[Term; 2]>,
    },
    /// Two numbers or two strings.
    Sum(Box<[Term; 2]>),
    Size(Box<Term>),
    ToDouble(Box<Term>),
    ToInt(Box<Term>),
    ToText(Box<Term>),
    Cond(Box<Cond<Term>>),
    Test(Box<Test>),
}

/// `test ? then : otherwise`
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cond<T> {
    pub(super) test: Test,
    pub(super) then: T,
    pub(super) otherwise: T,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    Less,
    LessEq,
    Greater,
    GreaterEq,
    Equal,
    NotEqual,
}

impl Relation {
    #[inline]
    pub(super) fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Less => order.is_lt(),
            Self::LessEq => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterEq => order.is_ge(),
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
        }
    }

    /// The relation that says the same with its sides exchanged.
    pub(super) fn mirrored(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessEq => Self::GreaterEq,
            Self::Greater => Self::Less,
            Self::GreaterEq => Self::LessEq,
            Self::Equal | Self::NotEqual => self,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextRelation {
    StartsWith,
    EndsWith,
    Contains,
}

/// What a call becomes.
pub(super) enum Lowered {
    Text(TextRelation),
    Convert(fn(Box<Term>) -> Term),
}

impl Function {
    pub(super) fn lowered(self) -> Lowered {
        match self {
            Self::StartsWith => Lowered::Text(TextRelation::StartsWith),
            Self::EndsWith => Lowered::Text(TextRelation::EndsWith),
            Self::Contains => Lowered::Text(TextRelation::Contains),
            Self::Size => Lowered::Convert(Term::Size),
            Self::Double => Lowered::Convert(Term::ToDouble),
            Self::Int => Lowered::Convert(Term::ToInt),
            Self::String => Lowered::Convert(Term::ToText),
        }
    }
}
