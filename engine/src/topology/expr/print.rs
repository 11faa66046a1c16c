//! A tree back to text, with no more parentheses than it needs.
//!
//! What is printed parses to the same tree; error messages quote parts of an expression this way.

use std::fmt::{self, Display, Formatter, Write as _};

use super::ast::{Expr, ExprKind, Literal, UnaryOp, level};

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Lit(literal) => literal.fmt(f),
            ExprKind::Ident(name) => f.write_str(name),
            ExprKind::Select { operand, field } => {
                at_least(f, operand, level::PRIMARY)?;
                write!(f, ".{field}")
            }
            ExprKind::Index { operand, index } => {
                at_least(f, operand, level::PRIMARY)?;
                write!(f, "[{index}]")
            }
            ExprKind::Call(call) => {
                if let Some(target) = &call.target {
                    at_least(f, target, level::PRIMARY)?;
                    f.write_char('.')?;
                }
                write!(f, "{}(", call.name)?;
                separated(f, &call.args)?;
                f.write_char(')')
            }
            ExprKind::Unary { op, operand } => unary(f, *op, operand),
            ExprKind::Binary { op, left, right } => {
                at_least(f, left, op.level())?;
                write!(f, " {} ", op.sign())?;
                at_least(f, right, op.level() + 1)
            }
            ExprKind::Cond {
                condition,
                then,
                otherwise,
            } => {
                at_least(f, condition, level::OR)?;
                f.write_str(" ? ")?;
                at_least(f, then, level::OR)?;
                f.write_str(" : ")?;
                at_least(f, otherwise, level::COND)
            }
            ExprKind::List(items) => {
                f.write_char('[')?;
                separated(f, items)?;
                f.write_char(']')
            }
        }
    }
}

/// `expr`, in parentheses if it binds more loosely than `level`.
fn at_least(f: &mut Formatter<'_>, expr: &Expr, level: u8) -> fmt::Result {
    if expr.kind.level() < level {
        write!(f, "({expr})")
    } else {
        write!(f, "{expr}")
    }
}

/// A minus directly before digits is a part of the number, so a negated number keeps its parentheses.
fn unary(f: &mut Formatter<'_>, op: UnaryOp, operand: &Expr) -> fmt::Result {
    let sign = match op {
        UnaryOp::Not => '!',
        UnaryOp::Neg => '-',
    };
    f.write_char(sign)?;
    let text = operand.to_string();
    let joins = op == UnaryOp::Neg && text.starts_with(|first: char| first.is_ascii_digit());
    if joins || operand.kind.level() < level::UNARY {
        write!(f, "({text})")
    } else {
        f.write_str(&text)
    }
}

fn separated(f: &mut Formatter<'_>, items: &[Expr]) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        write!(f, "{item}")?;
    }
    Ok(())
}

impl Display for Literal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Uint(value) => write!(f, "{value}u"),
            Self::Double(value) => write!(f, "{value:?}"),
            Self::Str(text) => quoted(f, text),
            Self::Duration(text) => f.write_str(text),
        }
    }
}

/// `text` as a string literal.
pub(super) fn quoted(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for found in text.chars() {
        match found {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            control if control.is_control() => write!(f, "\\u{:04x}", u32::from(control))?,
            plain => f.write_char(plain)?,
        }
    }
    f.write_char('"')
}
