//! What broken YAML most likely means.

use granit_parser::{ErrorKind, ScanError};

use crate::topology::document::code::codes;
use crate::topology::document::problem::Problem;
use crate::topology::document::source::{Source, Span};

/// The problem that a syntax error is, with the likely remedy.
pub(super) fn problem(source: &Source, error: &ScanError) -> Problem {
    let offset = error.marker().byte_offset().unwrap_or_default();
    let line = source.line(source.line_of(source.clamp(Span::new(offset, offset)).start)).unwrap_or_default();
    Problem::new(codes::SYNTAX, error.kind().to_string())
        .hint(hint(error.kind(), source.slice(line)))
        .span(Span::new(offset, offset))
}

fn hint(kind: &ErrorKind, line: &str) -> &'static str {
    match kind {
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation
        | ErrorKind::TabAtBlockScalarStart => "YAML is indented with spaces: replace the tab",
        ErrorKind::UnexpectedCharacter { character } if character.is_control() => {
            "remove the control character, or write it as an escape in double quotes"
        }
        // In `{ url: ${URL} }` the braces of the variable open a mapping of their own.
        _ if line.contains("${") && line.replace("${", "").contains(['{', '[']) => {
            "inside `{ }` and `[ ]`, quote values that contain `${…}`: \"${NAME}\""
        }
        ErrorKind::UnexpectedCharacter { .. } => "quote the value that contains it",
        ErrorKind::MappingValueNotAllowed | ErrorKind::SimpleKeyExpected | ErrorKind::InvalidColonPlacement => {
            "if the `:` belongs to a value, quote that value; else check the indentation"
        }
        ErrorKind::UnclosedQuotedScalar => "close the quote that starts here",
        ErrorKind::UnclosedFlowCollection { .. } => "close the bracket that starts here",
        ErrorKind::ExpectedFlowMappingSeparator
        | ErrorKind::ExpectedFlowSequenceSeparator
        | ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::UnexpectedEofFlowSequence => "is a `,`, a `}` or a `]` missing before this place?",
        ErrorKind::ExpectedBlockMappingKey | ErrorKind::ExpectedBlockSequenceEntry | ErrorKind::InvalidIndentation => {
            "check the indentation: entries of one mapping or list start in the same column"
        }
        _ => "check the quotes, brackets and indentation here and on the line before",
    }
}
