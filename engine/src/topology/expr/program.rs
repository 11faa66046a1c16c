//! An expression from its text to its result.

use super::check::{Checked, check};
use super::compile::{Compiler, primary};
use super::error::{ExprError, codes};
use super::eval::Inputs;
use super::node::{Term, Test};
use super::parse::parse;
use super::paths::{Fields, Path, SlotId};
use super::scope::Scope;
use super::types::Type;
use super::value::Value;

/// What the place of an expression asks of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// A condition: true or false, whatever the message holds. A field alone is none: a rule on `payload.temperature`
    /// would never say anything.
    Bool,
    /// Any value.
    Any,
}

/// The result of an evaluation.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome<'a> {
    /// A value.
    Value(Value<'a>),
    /// The message does not say: a field is missing or of another type, or a result is no finite number.
    NoData,
}

/// A compiled expression: immutable, and shared between threads as it is.
#[derive(Debug, Clone)]
pub struct Program {
    root: Root,
    ty: Type,
    primary: Option<(Path, SlotId)>,
}

#[derive(Debug, Clone)]
enum Root {
    Test(Test),
    Term(Term),
}

impl Program {
    /// Checks and compiles `text`, adding the fields that it reads to `fields`.
    ///
    /// # Errors
    /// All problems of the text, in its order; of one that does not parse, the first. `fields` is then as before.
    pub fn compile(text: &str, want: Want, fields: &mut Fields) -> Result<Self, Vec<ExprError>> {
        Self::compile_in(text, want, &Scope::rule(), fields)
    }

    pub(super) fn compile_in(
        text: &str,
        want: Want,
        scope: &Scope<'_>,
        fields: &mut Fields,
    ) -> Result<Self, Vec<ExprError>> {
        let tree = parse(text).map_err(|error| vec![error])?;
        let checked = check(&tree, scope)?;
        if want == Want::Bool && checked.ty != Type::Bool {
            return Err(vec![no_condition(text, &checked)]);
        }
        let before = fields.len();
        let mut compiler = Compiler { fields, errors: Vec::new() };
        let root = if checked.ty == Type::Bool {
            Root::Test(compiler.test(&checked))
        } else {
            Root::Term(compiler.term(&checked))
        };
        let errors = compiler.errors;
        if !errors.is_empty() {
            fields.truncate(before);
            return Err(errors);
        }
        Ok(Self { root, ty: checked.ty, primary: primary(&checked).map(|path| (path.clone(), fields.add(path))) })
    }

    /// The result on one record.
    pub fn eval<'a>(&'a self, inputs: &Inputs<'a>) -> Outcome<'a> {
        let value = match &self.root {
            Root::Test(test) => test.eval(inputs).map(Value::Bool),
            Root::Term(term) => term.eval(inputs),
        };
        value.map_or(Outcome::NoData, Outcome::Value)
    }

    /// The result as a condition: `None` for no data, and for a value that is no bool.
    #[inline]
    pub fn eval_bool(&self, inputs: &Inputs<'_>) -> Option<bool> {
        match &self.root {
            Root::Test(test) => test.eval(inputs),
            Root::Term(term) => match term.eval(inputs)? {
                Value::Bool(value) => Some(value),
                _ => None,
            },
        }
    }

    /// The type of its results, as far as it is known without a message.
    pub fn result_type(&self) -> Type {
        self.ty
    }

    /// The field that `{{ value }}` prints: the first that the expression compares, or else the first that it reads;
    /// fields only tested by `has` do not count.
    pub fn primary_path(&self) -> Option<&Path> {
        self.primary.as_ref().map(|(path, _)| path)
    }

    /// The slot of [`primary_path`](Self::primary_path).
    pub fn primary_slot(&self) -> Option<SlotId> {
        self.primary.as_ref().map(|(_, slot)| *slot)
    }

    /// The result if it is the same for every record.
    pub(super) fn constant(&self) -> Option<Value<'_>> {
        match &self.root {
            Root::Test(Test::Const(value)) => Some(Value::Bool(*value)),
            Root::Term(Term::Const(value)) => Some(value.borrowed()),
            _ => None,
        }
    }
}

fn no_condition(text: &str, checked: &Checked) -> ExprError {
    let found = &text[checked.span.clone()];
    let hint = match checked.ty {
        Type::Dyn if found.len() <= 64 && found.contains('?') => format!("compare it: `({found}) == true`"),
        Type::Dyn if found.len() <= 64 => {
            format!("compare it: `{found} > 80.0`, or `{found} == true` where it is true or false")
        }
        _ => "compare it, for example `payload.temperature > 80`".to_owned(),
    };
    ExprError::new(
        codes::TYPE_MISMATCH,
        checked.span.clone(),
        format!("a rule needs a condition, found {}", checked.ty.describe()),
    )
    .hint(hint)
}
