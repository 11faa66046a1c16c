//! Tree to checked tree: every name resolved, every operator given types that it can take.
//!
//! Goes on after a problem, so that all of them are reported at once; a part with a problem counts as
//! [`Type::Dyn`], which starts no further ones.

use super::ast::{BinaryOp, Expr, ExprKind, Literal, UnaryOp};
use super::error::{ExprError, Span, codes};
use super::functions::Function;
use super::paths::Path;
use super::scope::{Input, Scope};
use super::types::Type;
use super::value::Value;

/// A part of an expression that is proven to make sense.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) kind: CheckedKind,
    pub(super) ty: Type,
    pub(super) span: Span,
}

#[derive(Debug)]
pub(super) enum CheckedKind {
    Const(Value<'static>),
    Path(Path),
    Input(Input),
    Has(Path),
    Not(Box<Checked>),
    Neg(Box<Checked>),
    /// `&&`, `||`, a comparison or arithmetic; never `in`.
    Binary {
        op: BinaryOp,
        left: Box<Checked>,
        right: Box<Checked>,
    },
    In {
        needle: Box<Checked>,
        items: Vec<Checked>,
    },
    Cond {
        condition: Box<Checked>,
        then: Box<Checked>,
        otherwise: Box<Checked>,
    },
    Call {
        function: Function,
        args: Vec<Checked>,
    },
}

/// The checked form of `tree`, or all its problems, in the order of the text.
pub(super) fn check(tree: &Expr, scope: &Scope<'_>) -> Result<Checked, Vec<ExprError>> {
    let mut checker = Checker {
        scope,
        errors: Vec::new(),
    };
    let checked = checker.expr(tree);
    if checker.errors.is_empty() {
        Ok(checked)
    } else {
        checker.errors.sort_by_key(|error| error.span.start);
        Err(checker.errors)
    }
}

pub(super) struct Checker<'s> {
    pub(super) scope: &'s Scope<'s>,
    pub(super) errors: Vec<ExprError>,
}

impl Checker<'_> {
    /// Notes a problem and stands in for the part that has it.
    pub(super) fn fail(&mut self, error: ExprError) -> Checked {
        let span = error.span.clone();
        self.errors.push(error);
        Checked {
            kind: CheckedKind::Const(Value::Null),
            ty: Type::Dyn,
            span,
        }
    }

    fn mismatch(&mut self, span: &Span, message: String, hint: &str) -> Checked {
        self.fail(ExprError::new(codes::TYPE_MISMATCH, span.clone(), message).hint(hint))
    }

    pub(super) fn expr(&mut self, tree: &Expr) -> Checked {
        match &tree.kind {
            ExprKind::Lit(literal) => self.literal(literal, &tree.span),
            ExprKind::Ident(_) | ExprKind::Select { .. } | ExprKind::Index { .. } => {
                self.member(tree)
            }
            ExprKind::Call(call) => self.call(call, &tree.span),
            ExprKind::Unary { op, operand } => self.unary(*op, operand, &tree.span),
            ExprKind::Binary {
                op: BinaryOp::In,
                left,
                right,
            } => self.contained(left, right, &tree.span),
            ExprKind::Binary { op, left, right } => self.binary(*op, left, right, &tree.span),
            ExprKind::Cond {
                condition,
                then,
                otherwise,
            } => self.cond(condition, then, otherwise, &tree.span),
            ExprKind::List(_) => self.fail(
                ExprError::new(
                    codes::UNSUPPORTED,
                    tree.span.clone(),
                    "a list can only stand to the right of `in`",
                )
                .hint("write `payload.mode in [\"a\", \"b\"]`"),
            ),
        }
    }

    fn literal(&mut self, literal: &Literal, span: &Span) -> Checked {
        let (value, ty) = match literal {
            Literal::Null => (Value::Null, Type::Null),
            Literal::Bool(value) => (Value::Bool(*value), Type::Bool),
            Literal::Int(value) => (Value::Int(*value), Type::Int),
            Literal::Uint(value) => match i64::try_from(*value) {
                Ok(value) => (Value::Int(value), Type::Int),
                Err(_) => {
                    return self.fail(
                        ExprError::new(codes::SYNTAX, span.clone(), "the number is out of range")
                            .hint("ints reach to 9223372036854775807, with `u` or without"),
                    );
                }
            },
            Literal::Double(value) => (Value::Double(*value), Type::Double),
            Literal::Str(text) => (Value::Str(text.clone().into()), Type::String),
            Literal::Duration(text) => {
                return self.fail(
                    ExprError::new(
                        codes::UNSUPPORTED,
                        span.clone(),
                        format!("the duration `{text}` is no value of an expression"),
                    )
                    .hint("write a number of seconds"),
                );
            }
        };
        Checked {
            kind: CheckedKind::Const(value),
            ty,
            span: span.clone(),
        }
    }

    fn unary(&mut self, op: UnaryOp, operand: &Expr, span: &Span) -> Checked {
        let checked = Box::new(self.expr(operand));
        let found = checked.ty;
        let (kind, ty) = match op {
            UnaryOp::Not if found.may_be(Type::Bool) => (CheckedKind::Not(checked), Type::Bool),
            UnaryOp::Neg if found.is_numeric() => (CheckedKind::Neg(checked), found),
            UnaryOp::Neg if found == Type::Dyn => (CheckedKind::Neg(checked), Type::Number),
            UnaryOp::Not => {
                let message = format!("`!` needs a condition, found {}", found.describe());
                return self.mismatch(
                    span,
                    message,
                    "put a comparison in parentheses: `!(payload.x > 1)`",
                );
            }
            UnaryOp::Neg => {
                let message = format!("`-` needs a number, found {}", found.describe());
                return self.mismatch(span, message, "convert it with `double(…)`");
            }
        };
        Checked {
            kind,
            ty,
            span: span.clone(),
        }
    }

    fn binary(&mut self, op: BinaryOp, left: &Expr, right: &Expr, span: &Span) -> Checked {
        let checked = (self.expr(left), self.expr(right));
        if op == BinaryOp::Sub {
            self.explain_dash(left, right);
        }
        let (one, two) = (checked.0.ty, checked.1.ty);
        let ty = match op {
            BinaryOp::And | BinaryOp::Or => {
                for side in [&checked.0, &checked.1] {
                    if !side.ty.may_be(Type::Bool) {
                        let message = format!(
                            "`{}` needs conditions on both sides, found {}",
                            op.sign(),
                            side.ty.describe()
                        );
                        self.mismatch(
                            &side.span,
                            message,
                            "compare it, for example `payload.x > 1`",
                        );
                    }
                }
                Some(Type::Bool)
            }
            BinaryOp::Equal | BinaryOp::NotEqual => one.comparable(two).then_some(Type::Bool),
            BinaryOp::Add => sum(one, two),
            BinaryOp::Sub | BinaryOp::Mul => both_numbers(one, two).then(|| one.arithmetic(two)),
            BinaryOp::Div if (one, two) == (Type::Int, Type::Int) => Some(Type::Int),
            BinaryOp::Div => both_numbers(one, two).then_some(Type::Double),
            BinaryOp::Rem => (both_numbers(one, two) && one != Type::Double && two != Type::Double)
                .then_some(Type::Int),
            BinaryOp::Less
            | BinaryOp::LessEq
            | BinaryOp::Greater
            | BinaryOp::GreaterEq
            | BinaryOp::In => one.ordered(two).then_some(Type::Bool),
        };
        let Some(ty) = ty else {
            let message = format!(
                "`{}` cannot take {} and {}",
                op.sign(),
                one.describe(),
                two.describe()
            );
            return self.mismatch(span, message, mismatch_hint(op, left, &checked));
        };
        Checked {
            kind: CheckedKind::Binary {
                op,
                left: Box::new(checked.0),
                right: Box::new(checked.1),
            },
            ty,
            span: span.clone(),
        }
    }

    fn contained(&mut self, left: &Expr, right: &Expr, span: &Span) -> Checked {
        let needle = self.expr(left);
        let ExprKind::List(list) = &right.kind else {
            return self.fail(
                ExprError::new(
                    codes::UNSUPPORTED,
                    right.span.clone(),
                    "`in` takes a list written out here",
                )
                .hint("write `payload.mode in [\"a\", \"b\"]`"),
            );
        };
        let items: Vec<Checked> = list.iter().map(|item| self.expr(item)).collect();
        let mut of = Type::Dyn;
        for item in items.iter().filter(|item| item.ty != Type::Null) {
            if !item.ty.comparable(of) {
                let message = format!(
                    "the list holds {} beside {}",
                    item.ty.describe(),
                    of.describe()
                );
                self.mismatch(&item.span, message, "write items of one type");
            } else if !item.ty.comparable(needle.ty) {
                let message = format!(
                    "`in` cannot find {} among items such as {}",
                    needle.ty.describe(),
                    item.ty.describe()
                );
                self.mismatch(&item.span, message, "write items of the type looked for");
            }
            if of == Type::Dyn {
                of = item.ty;
            }
        }
        Checked {
            kind: CheckedKind::In {
                needle: Box::new(needle),
                items,
            },
            ty: Type::Bool,
            span: span.clone(),
        }
    }

    fn cond(&mut self, condition: &Expr, then: &Expr, otherwise: &Expr, span: &Span) -> Checked {
        let condition = self.expr(condition);
        let (then, otherwise) = (self.expr(then), self.expr(otherwise));
        if !condition.ty.may_be(Type::Bool) {
            let message = format!(
                "`?` needs a condition before it, found {}",
                condition.ty.describe()
            );
            self.mismatch(
                &condition.span,
                message,
                "compare it, for example `payload.x > 1`",
            );
        }
        let Some(ty) = then.ty.join(otherwise.ty) else {
            let message = format!(
                "`:` cannot choose between {} and {}",
                then.ty.describe(),
                otherwise.ty.describe()
            );
            return self.mismatch(span, message, "give both the same type");
        };
        Checked {
            kind: CheckedKind::Cond {
                condition: Box::new(condition),
                then: Box::new(then),
                otherwise: Box::new(otherwise),
            },
            ty,
            span: span.clone(),
        }
    }
}

fn both_numbers(left: Type, right: Type) -> bool {
    left.may_be_number() && right.may_be_number()
}

fn sum(left: Type, right: Type) -> Option<Type> {
    match (left, right) {
        (Type::Dyn, Type::Dyn) => Some(Type::Dyn),
        (Type::String, other) | (other, Type::String) => {
            other.may_be(Type::String).then_some(Type::String)
        }
        _ => both_numbers(left, right).then(|| left.arithmetic(right)),
    }
}

fn mismatch_hint(op: BinaryOp, left: &Expr, sides: &(Checked, Checked)) -> &'static str {
    let types = [sides.0.ty, sides.1.ty];
    let relation = BinaryOp::Less.level();
    if op.level() == relation && left.kind.level() == relation {
        return "compare twice: `1 < payload.x && payload.x < 5`";
    }
    if matches!(
        left.kind,
        ExprKind::Unary {
            op: UnaryOp::Not,
            ..
        }
    ) {
        return "put what `!` negates in parentheses: `!(payload.x > 1)`";
    }
    if types.contains(&Type::Null) {
        return "only a field of the message can be null: `payload.x == null`";
    }
    let text = types.contains(&Type::String);
    let literal = [&sides.0, &sides.1]
        .iter()
        .any(|side| side.ty.is_numeric() && matches!(side.kind, CheckedKind::Const(_)));
    match op {
        _ if text && literal && op.level() == relation => "put the number in quotes",
        BinaryOp::Add if text => "convert the other side with `string(…)`",
        BinaryOp::Rem => "`%` takes whole numbers; convert with `int(…)`",
        _ if text => "convert one side with `double(…)` or `string(…)`",
        _ if op.level() == relation => "only numbers and strings have an order",
        _ => "only numbers can be computed with",
    }
}
