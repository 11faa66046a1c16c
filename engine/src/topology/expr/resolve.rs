//! Names, paths and calls: the parts of the check that look something up.

use super::MAX_DEPTH;
use super::ast::{Call, Expr, ExprKind, Literal};
use super::check::{Checked, CheckedKind, Checker};
use super::error::{ExprError, Span, codes};
use super::functions::{Form, HAS, HAS_USAGE, Signature, hint_for, signature};
use super::paths::{Path, Segment};
use super::scope::Name;
use super::suggest::nearest;
use super::types::Type;
use super::value::Value;

impl Checker<'_> {
    /// A name with the selections and indexes behind it.
    pub(super) fn member(&mut self, tree: &Expr) -> Checked {
        let mut steps = Vec::new();
        let mut base = tree;
        loop {
            base = match &base.kind {
                ExprKind::Select { operand, field } => {
                    steps.push((Some(Segment::Key(field.as_str().into())), base.span.clone()));
                    operand
                }
                ExprKind::Index { operand, index } => {
                    steps.push((segment(&index.kind), index.span.clone()));
                    operand
                }
                _ => break,
            };
        }
        steps.reverse();
        let ExprKind::Ident(name) = &base.kind else {
            self.expr(base);
            return self.fail(
                ExprError::new(
                    codes::UNSUPPORTED,
                    tree.span.clone(),
                    "fields can only be read from the message itself",
                )
                .hint("write the whole path: `payload.device.name`"),
            );
        };
        let (kind, ty) = match self.scope.resolve(name) {
            Some(Name::Field(path)) => return self.path(path, steps, &tree.span),
            Some(Name::Labels(labels)) => {
                return match steps.as_slice() {
                    [(Some(Segment::Key(label)), _)] => self.label(labels, label, &tree.span),
                    _ => self.fail(
                        ExprError::new(
                            codes::UNSUPPORTED,
                            tree.span.clone(),
                            "one label must be named",
                        )
                        .hint("write `labels.severity`"),
                    ),
                };
            }
            Some(Name::Input(input)) => (CheckedKind::Input(input), input.kind()),
            Some(Name::Text(text)) => (
                CheckedKind::Const(Value::Str(text.to_owned().into())),
                Type::String,
            ),
            Some(Name::NoValue) => {
                return self.fail(
                    ExprError::new(
                        codes::UNKNOWN_FIELD,
                        base.span.clone(),
                        "there is no `value`: the rule compares no field of the message",
                    )
                    .hint("name a field: `payload.temperature`"),
                );
            }
            None => return self.unknown(name, &base.span),
        };
        if let Some((_, span)) = steps.first() {
            return self.fail(
                ExprError::new(
                    codes::TYPE_MISMATCH,
                    span.clone(),
                    format!("`{name}` is {} and has no fields", ty.describe()),
                )
                .hint(format!("write `{name}` alone")),
            );
        }
        Checked {
            kind,
            ty,
            span: tree.span.clone(),
        }
    }

    fn path(
        &mut self,
        mut path: Path,
        steps: Vec<(Option<Segment>, Span)>,
        span: &Span,
    ) -> Checked {
        for (step, place) in steps {
            match step {
                Some(step) => path.push(step),
                None => {
                    return self.fail(
                        ExprError::new(
                            codes::UNSUPPORTED,
                            place,
                            "an index must be a string or a number from 0 on, written out",
                        )
                        .hint("write `payload.list[0]` or `payload[\"odd name\"]`"),
                    );
                }
            }
        }
        if path.segments().len() > MAX_DEPTH {
            return self.fail(
                ExprError::new(
                    codes::TOO_DEEP,
                    span.clone(),
                    format!("the path has more than {MAX_DEPTH} steps"),
                )
                .hint("messages nested that deep are never accepted"),
            );
        }
        Checked {
            kind: CheckedKind::Path(path),
            ty: Type::Dyn,
            span: span.clone(),
        }
    }

    fn label(
        &mut self,
        labels: &std::collections::BTreeMap<String, String>,
        label: &str,
        span: &Span,
    ) -> Checked {
        if let Some(text) = labels.get(label) {
            return Checked {
                kind: CheckedKind::Const(Value::Str(text.clone().into())),
                ty: Type::String,
                span: span.clone(),
            };
        }
        let hint = match nearest(label, labels.keys().map(String::as_str)) {
            Some(near) => format!("did you mean `labels.{near}`?"),
            None if labels.is_empty() => "the rule has no labels".to_owned(),
            None => {
                let known: Vec<&str> = labels.keys().map(String::as_str).collect();
                format!("the rule's labels: {}", known.join(", "))
            }
        };
        self.fail(
            ExprError::new(
                codes::UNKNOWN_FIELD,
                span.clone(),
                format!("the rule has no label `{label}`"),
            )
            .hint(hint),
        )
    }

    fn unknown(&mut self, name: &str, span: &Span) -> Checked {
        let words = ["true", "false", "null"];
        let hint = match nearest(name, self.scope.names().chain(words)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => {
                let known: Vec<&str> = self.scope.names().collect();
                format!(
                    "the fields of a message are under `payload`: write `payload.{name}`; known names: {}",
                    known.join(", ")
                )
            }
        };
        self.fail(
            ExprError::new(
                codes::UNKNOWN_FIELD,
                span.clone(),
                format!("unknown name `{name}`"),
            )
            .hint(hint),
        )
    }

    /// `payload.odd-name` is a subtraction; if its right side is the unknown name just reported, says how to write it.
    pub(super) fn explain_dash(&mut self, left: &Expr, right: &Expr) {
        if let ExprKind::Select { operand, field } = &left.kind
            && let ExprKind::Ident(name) = &right.kind
            && left.span.end + 1 == right.span.start
            && let Some(error) = self.errors.last_mut()
            && error.span == right.span
        {
            error.hint = Some(format!(
                "a name with a dash is written in brackets: `{operand}[\"{field}-{name}\"]`"
            ));
        }
    }

    pub(super) fn call(&mut self, call: &Call, span: &Span) -> Checked {
        let name = call.name.as_str();
        let method = call.target.is_some();
        let all: Vec<&Expr> = call
            .target
            .as_deref()
            .into_iter()
            .chain(&call.args)
            .collect();
        if name == HAS {
            return self.has(method, &all, span);
        }
        let Some(known) = signature(name) else {
            // A duration is only wrong for want of a function that takes it, and that is being said.
            for argument in all {
                if !matches!(argument.kind, ExprKind::Lit(Literal::Duration(_))) {
                    self.expr(argument);
                }
            }
            return self.fail(
                ExprError::new(
                    codes::UNKNOWN_FUNCTION,
                    call.name_span.clone(),
                    format!("unknown function `{name}`"),
                )
                .hint(hint_for(name)),
            );
        };
        let checked: Vec<Checked> = all
            .into_iter()
            .map(|argument| self.expr(argument))
            .collect();
        if let Some(problem) = wrong_call(known, method, checked.len()) {
            return self.fail(
                ExprError::new(codes::ARGUMENTS, span.clone(), problem)
                    .hint(format!("write `{}`", known.usage)),
            );
        }
        for argument in &checked {
            if !(known.accepts)(argument.ty) {
                self.fail(
                    ExprError::new(
                        codes::TYPE_MISMATCH,
                        argument.span.clone(),
                        format!(
                            "`{name}` takes {}, found {}",
                            known.wanted,
                            argument.ty.describe()
                        ),
                    )
                    .hint(format!("write `{}`", known.usage)),
                );
            }
        }
        Checked {
            kind: CheckedKind::Call {
                function: known.function,
                args: checked,
            },
            ty: known.gives,
            span: span.clone(),
        }
    }

    fn has(&mut self, method: bool, args: &[&Expr], span: &Span) -> Checked {
        let before = self.errors.len();
        let mut checked: Vec<Checked> = args.iter().map(|argument| self.expr(argument)).collect();
        let argument = checked.pop().map(|argument| argument.kind);
        match argument {
            Some(CheckedKind::Path(path))
                if checked.is_empty() && !method && !path.segments().is_empty() =>
            {
                Checked {
                    kind: CheckedKind::Has(path),
                    ty: Type::Bool,
                    span: span.clone(),
                }
            }
            Some(argument) if self.errors.len() > before => Checked {
                kind: argument,
                ty: Type::Dyn,
                span: span.clone(),
            },
            _ => self.fail(
                ExprError::new(
                    codes::ARGUMENTS,
                    span.clone(),
                    "`has` takes one field of the message",
                )
                .hint(format!("write `{HAS_USAGE}`")),
            ),
        }
    }
}

/// What is wrong with the way a function is called, its types aside.
fn wrong_call(known: &Signature, method: bool, given: usize) -> Option<String> {
    let name = known.name;
    match (known.form, method) {
        (Form::Free, true) => Some(format!("`{name}` is not called on a value")),
        (Form::Method, false) => Some(format!("`{name}` is called on a string")),
        _ if given != known.arity => {
            let target = usize::from(method);
            Some(format!(
                "`{name}` takes {} argument(s) in its parentheses, found {}",
                known.arity - target,
                given - target
            ))
        }
        _ => None,
    }
}

/// The step that an index in brackets means; none if it is not a constant that can be one.
fn segment(index: &ExprKind) -> Option<Segment> {
    match index {
        ExprKind::Lit(Literal::Str(key)) => Some(Segment::Key(key.as_str().into())),
        ExprKind::Lit(Literal::Int(index)) => u32::try_from(*index).ok().map(Segment::Index),
        ExprKind::Lit(Literal::Uint(index)) => u32::try_from(*index).ok().map(Segment::Index),
        _ => None,
    }
}
