//! The functions, with what each takes and gives.
//!
//! One table: the checker, the error messages and the list of known functions all come from it.

use super::suggest::nearest;
use super::types::Type;

/// A function that is evaluated; `has` is a macro and resolved by the checker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    StartsWith,
    EndsWith,
    Contains,
    Double,
    Int,
    String,
}

/// How a function is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `name(a)`
    Free,
    /// `a.name(b)`
    Method,
    /// Either, as `size`.
    Both,
}

/// What the checker knows of a function.
pub(super) struct Signature {
    pub(super) function: Function,
    pub(super) name: &'static str,
    /// A call as one would write it, for hints.
    pub(super) usage: &'static str,
    pub(super) form: Form,
    /// Number of arguments, the target of a method included.
    pub(super) arity: usize,
    pub(super) accepts: fn(Type) -> bool,
    /// What `accepts` wants, in words.
    pub(super) wanted: &'static str,
    pub(super) gives: Type,
}

fn text(kind: Type) -> bool {
    kind.may_be(Type::String)
}

fn convertible(kind: Type) -> bool {
    kind.may_be_number() || kind == Type::String
}

fn printable(kind: Type) -> bool {
    kind != Type::Null
}

/// The name of the macro that tests for a field.
pub(super) const HAS: &str = "has";
/// A call of [`HAS`] as one would write it.
pub(super) const HAS_USAGE: &str = "has(payload.field)";

static SIGNATURES: [Signature; 7] = [
    Signature {
        function: Function::Size,
        name: "size",
        usage: "size(payload.list)",
        form: Form::Both,
        arity: 1,
        accepts: text,
        wanted: "a string, list or object",
        gives: Type::Int,
    },
    Signature {
        function: Function::StartsWith,
        name: "startsWith",
        usage: "payload.name.startsWith(\"a\")",
        form: Form::Method,
        arity: 2,
        accepts: text,
        wanted: "strings",
        gives: Type::Bool,
    },
    Signature {
        function: Function::EndsWith,
        name: "endsWith",
        usage: "payload.name.endsWith(\"a\")",
        form: Form::Method,
        arity: 2,
        accepts: text,
        wanted: "strings",
        gives: Type::Bool,
    },
    Signature {
        function: Function::Contains,
        name: "contains",
        usage: "payload.name.contains(\"a\")",
        form: Form::Method,
        arity: 2,
        accepts: text,
        wanted: "strings",
        gives: Type::Bool,
    },
    Signature {
        function: Function::Double,
        name: "double",
        usage: "double(payload.field)",
        form: Form::Free,
        arity: 1,
        accepts: convertible,
        wanted: "a number or a string",
        gives: Type::Double,
    },
    Signature {
        function: Function::Int,
        name: "int",
        usage: "int(payload.field)",
        form: Form::Free,
        arity: 1,
        accepts: convertible,
        wanted: "a number or a string",
        gives: Type::Int,
    },
    Signature {
        function: Function::String,
        name: "string",
        usage: "string(payload.field)",
        form: Form::Free,
        arity: 1,
        accepts: printable,
        wanted: "a number, a bool or a string",
        gives: Type::String,
    },
];

pub(super) fn signature(name: &str) -> Option<&'static Signature> {
    SIGNATURES.iter().find(|signature| signature.name == name)
}

/// What to say to someone who called `name`.
pub(super) fn hint_for(name: &str) -> String {
    let names = || {
        [HAS]
            .into_iter()
            .chain(SIGNATURES.iter().map(|known| known.name))
    };
    let known = names().collect::<Vec<_>>().join(", ");
    match nearest(name, names()) {
        Some(near) => format!("did you mean `{near}`? Known functions: {known}"),
        None if is_aggregate(name) => {
            format!("an expression sees one record at a time; known functions: {known}")
        }
        None => format!("known functions: {known}"),
    }
}

/// Functions over time or over several records, known from Prometheus and SQL.
fn is_aggregate(name: &str) -> bool {
    let name = name.trim_end_matches("_over_time");
    matches!(
        name,
        "avg" | "sum" | "min" | "max" | "count" | "rate" | "delta" | "stddev" | "median" | "last"
    )
}
