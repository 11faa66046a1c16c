//! The words of the expression language.

use super::error::Span;

/// One word.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Ident(String),
    /// The magnitude of an integer: its sign is an operator until the parser joins the two.
    Int(u64),
    Uint(u64),
    Double(f64),
    /// A number with a unit of time, as written. No value of the language, but read as one word so that the error
    /// can name the function that it was meant for.
    Duration(String),
    Str(String),
    True,
    False,
    Null,
    In,
    LParen,
    RParen,
    LBracket,
    RBracket,
    Dot,
    Comma,
    Question,
    Colon,
    Not,
    Minus,
    Plus,
    Star,
    Slash,
    Percent,
    Less,
    LessEq,
    Greater,
    GreaterEq,
    Equal,
    NotEqual,
    And,
    Or,
    End,
}

/// A word and its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Spanned {
    pub(super) token: Token,
    pub(super) span: Span,
}

impl Token {
    /// The word as an error message shows it.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Ident(name) => format!("`{name}`"),
            Self::Int(_) | Self::Uint(_) | Self::Double(_) => "a number".to_owned(),
            Self::Duration(text) => format!("the duration `{text}`"),
            Self::Str(_) => "a string".to_owned(),
            Self::End => "the end of the expression".to_owned(),
            other => format!("`{}`", other.sign()),
        }
    }

    /// Whether a word of this kind can end an operand, so that a dot after it selects a field.
    pub(super) fn ends_operand(&self) -> bool {
        matches!(
            self,
            Self::Ident(_) | Self::Str(_) | Self::RParen | Self::RBracket
        )
    }

    fn sign(&self) -> &'static str {
        match self {
            Self::True => "true",
            Self::False => "false",
            Self::Null => "null",
            Self::In => "in",
            Self::LParen => "(",
            Self::RParen => ")",
            Self::LBracket => "[",
            Self::RBracket => "]",
            Self::Dot => ".",
            Self::Comma => ",",
            Self::Question => "?",
            Self::Colon => ":",
            Self::Not => "!",
            Self::Minus => "-",
            Self::Plus => "+",
            Self::Star => "*",
            Self::Slash => "/",
            Self::Percent => "%",
            Self::Less => "<",
            Self::LessEq => "<=",
            Self::Greater => ">",
            Self::GreaterEq => ">=",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::And => "&&",
            Self::Or => "||",
            Self::Ident(_)
            | Self::Int(_)
            | Self::Uint(_)
            | Self::Double(_)
            | Self::Duration(_)
            | Self::Str(_)
            | Self::End => "",
        }
    }
}
