//! The tree of an expression as it was written.
//!
//! Nothing is resolved here: names are names, and a path is a chain of selections. Two trees are equal if they say the
//! same; where they stand in their texts does not count.

use super::error::Span;

/// An expression and its place.
#[derive(Debug, Clone)]
pub(super) struct Expr {
    pub(super) kind: ExprKind,
    pub(super) span: Span,
}

impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum ExprKind {
    Lit(Literal),
    Ident(String),
    /// `operand.field`
    Select {
        operand: Box<Expr>,
        field: String,
    },
    /// `operand[index]`
    Index {
        operand: Box<Expr>,
        index: Box<Expr>,
    },
    /// `name(args)` or `target.name(args)`
    Call(Call),
    Unary {
        op: UnaryOp,
        operand: Box<Expr>,
    },
    Binary {
        op: BinaryOp,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    /// `condition ? then : otherwise`
    Cond {
        condition: Box<Expr>,
        then: Box<Expr>,
        otherwise: Box<Expr>,
    },
    List(Vec<Expr>),
}

/// The call of a function, with the place of its name apart from that of the whole.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) target: Option<Box<Expr>>,
    pub(super) name: String,
    pub(super) name_span: Span,
    pub(super) args: Vec<Expr>,
}

impl PartialEq for Call {
    fn eq(&self, other: &Self) -> bool {
        self.target == other.target && self.name == other.name && self.args == other.args
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Str(String),
    Duration(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UnaryOp {
    Not,
    Neg,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BinaryOp {
    Or,
    And,
    Less,
    LessEq,
    Greater,
    GreaterEq,
    Equal,
    NotEqual,
    In,
    Add,
    Sub,
    Mul,
    Div,
    Rem,
}

/// How tightly a construct binds; a higher level binds tighter.
pub(super) mod level {
    pub(in super::super) const COND: u8 = 0;
    pub(in super::super) const OR: u8 = 1;
    pub(in super::super) const AND: u8 = 2;
    pub(in super::super) const RELATION: u8 = 3;
    pub(in super::super) const SUM: u8 = 4;
    pub(in super::super) const PRODUCT: u8 = 5;
    pub(in super::super) const UNARY: u8 = 6;
    pub(in super::super) const PRIMARY: u8 = 7;
}

impl BinaryOp {
    /// CEL's precedence; all binary operators group from the left.
    pub(super) fn level(self) -> u8 {
        match self {
            Self::Or => level::OR,
            Self::And => level::AND,
            Self::Less
            | Self::LessEq
            | Self::Greater
            | Self::GreaterEq
            | Self::Equal
            | Self::NotEqual
            | Self::In => level::RELATION,
            Self::Add | Self::Sub => level::SUM,
            Self::Mul | Self::Div | Self::Rem => level::PRODUCT,
        }
    }

    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Or => "||",
            Self::And => "&&",
            Self::Less => "<",
            Self::LessEq => "<=",
            Self::Greater => ">",
            Self::GreaterEq => ">=",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::In => "in",
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Rem => "%",
        }
    }
}

impl ExprKind {
    pub(super) fn level(&self) -> u8 {
        match self {
            Self::Cond { .. } => level::COND,
            Self::Binary { op, .. } => op.level(),
            Self::Unary { .. } => level::UNARY,
            Self::Lit(_)
            | Self::Ident(_)
            | Self::Select { .. }
            | Self::Index { .. }
            | Self::Call(_)
            | Self::List(_) => level::PRIMARY,
        }
    }
}
