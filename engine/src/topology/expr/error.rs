//! What is wrong with an expression, where, and what to write instead.
//!
//! Every error carries a stable code, so that tools can match on it and the topology layer can pass it on unchanged,
//! and a byte range inside the text that was compiled, so that the place can be shown.

use std::ops::Range;

/// A byte range inside the text of an expression or template.
pub type Span = Range<usize>;

/// One problem of an expression or template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExprError {
    /// Stable code, one of [`codes`].
    pub code: &'static str,
    /// Where in the text, in bytes; on character boundaries.
    pub span: Span,
    /// What is wrong, naming the part at fault.
    pub message: String,
    /// What to write instead, if it can be said.
    pub hint: Option<String>,
}

impl ExprError {
    pub(super) fn new(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self {
            code,
            span,
            message: message.into(),
            hint: None,
        }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Moves the place by `bytes`: the text was a part of a longer one.
    pub(super) fn shifted(mut self, bytes: usize) -> Self {
        self.span = self.span.start + bytes..self.span.end + bytes;
        self
    }
}

/// The stable codes of [`ExprError`].
pub mod codes {
    /// The text does not follow the grammar.
    pub const SYNTAX: &str = "expr::syntax";
    /// The text is longer than [`MAX_TEXT`](super::super::MAX_TEXT) bytes.
    pub const TOO_LONG: &str = "expr::too_long";
    /// The expression nests too deeply.
    pub const TOO_DEEP: &str = "expr::too_deep";
    /// A function that does not exist is called.
    pub const UNKNOWN_FUNCTION: &str = "expr::unknown_function";
    /// A name that does not exist is read.
    pub const UNKNOWN_FIELD: &str = "expr::unknown_field";
    /// An operator or function gets a type it cannot take.
    pub const TYPE_MISMATCH: &str = "expr::type_mismatch";
    /// A function is called with the wrong number or form of arguments.
    pub const ARGUMENTS: &str = "expr::arguments";
    /// Valid CEL, but outside the subset that is compiled.
    pub const UNSUPPORTED: &str = "expr::unsupported";
    /// A part made of constants alone has no value.
    pub const NO_VALUE: &str = "expr::no_value";

    /// Every code with a sentence on its cause, for `telemill explain`.
    pub const EXPLANATIONS: [(&str, &str); 9] = [
        (
            SYNTAX,
            "the text does not follow the grammar; only the first such error of an expression is reported",
        ),
        (
            TOO_LONG,
            "an expression or template is limited to 4096 bytes",
        ),
        (
            TOO_DEEP,
            "an expression may nest 64 levels, build 250 operators and selections on each other, and name 64 steps in a path",
        ),
        (
            UNKNOWN_FUNCTION,
            "a function is called that does not exist; the hint lists those that do",
        ),
        (
            UNKNOWN_FIELD,
            "a name is read that does not exist; the fields of a message are under `payload`",
        ),
        (
            TYPE_MISMATCH,
            "an operator or a function gets a type that it cannot take, whatever the message holds",
        ),
        (
            ARGUMENTS,
            "a function is called with the wrong number of arguments or in the wrong form",
        ),
        (
            UNSUPPORTED,
            "this is valid CEL but outside the subset that is compiled",
        ),
        (
            NO_VALUE,
            "a part made of constants alone has no value: a division by zero or an overflow",
        ),
    ];
}
