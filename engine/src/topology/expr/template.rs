//! Annotations: text with `{{ expression }}` in it.
//!
//! The expressions are those of the rules, with `value`, `labels` and `alertname` as further names. All are compiled
//! when the topology is checked, and what is constant by then becomes text. Rendering cannot fail: a part that the
//! message does not say prints [`NO_DATA`], and a text longer than [`MAX_RENDERED`] bytes is cut.

use std::fmt::{self, Write};

use super::error::{ExprError, codes};
use super::eval::Inputs;
use super::paths::Fields;
use super::program::{Outcome, Program, Want};
use super::scope::{Scope, TemplateScope};
use super::{MAX_RENDERED, MAX_TEXT};

/// What a part prints that has no value.
pub const NO_DATA: &str = "(no data)";
/// What ends a text that was cut.
const CUT: &str = "…";

/// A compiled annotation.
#[derive(Debug, Clone)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    Program(Program),
}

impl Template {
    /// Checks and compiles `text`, adding the fields that it reads to `fields`.
    ///
    /// # Errors
    /// All problems of all its expressions, with places in `text`. `fields` is then as before.
    pub fn compile(
        text: &str,
        scope: &TemplateScope<'_>,
        fields: &mut Fields,
    ) -> Result<Self, Vec<ExprError>> {
        if text.len() > MAX_TEXT {
            let start = text.floor_char_boundary(MAX_TEXT);
            return Err(vec![
                ExprError::new(
                    codes::TOO_LONG,
                    start..text.len(),
                    format!(
                        "the template has {} bytes, {MAX_TEXT} are allowed",
                        text.len()
                    ),
                )
                .hint("shorten it"),
            ]);
        }
        let scope = Scope::template(*scope);
        let before = fields.len();
        let mut template = Self { pieces: Vec::new() };
        let mut errors = Vec::new();
        let mut at = 0;
        while let Some(open) = text[at..].find(OPEN).map(|open| at + open) {
            template.push_text(&text[at..open]);
            let start = open + OPEN.len();
            let Some(len) = close(&text[start..]) else {
                errors.push(
                    ExprError::new(codes::SYNTAX, open..start, "`{{` is not closed")
                        .hint("close it with `}}`; a plain `{{` is written `{{ \"{{\" }}`"),
                );
                at = text.len();
                break;
            };
            let part = &text[start..start + len];
            match Program::compile_in(part, Want::Any, &scope, fields) {
                Ok(program) => template.push(program),
                Err(found) => errors.extend(found.into_iter().map(|error| error.shifted(start))),
            }
            at = start + len + CLOSE.len();
        }
        template.push_text(&text[at..]);
        if errors.is_empty() {
            Ok(template)
        } else {
            fields.truncate(before);
            Err(errors)
        }
    }

    /// The text for one record.
    pub fn render(&self, inputs: &Inputs<'_>) -> String {
        let mut out = Bounded(String::new());
        for piece in &self.pieces {
            let written = match piece {
                Piece::Text(text) => out.write_str(text),
                Piece::Program(program) => match program.eval(inputs) {
                    Outcome::Value(value) => write!(out, "{value}"),
                    Outcome::NoData => out.write_str(NO_DATA),
                },
            };
            if written.is_err() {
                out.0.push_str(CUT);
                break;
            }
        }
        out.0
    }

    fn push(&mut self, program: Program) {
        let constant = program.constant().map(|value| value.to_string());
        match constant {
            Some(text) => self.push_text(&text),
            None => self.pieces.push(Piece::Program(program)),
        }
    }

    fn push_text(&mut self, text: &str) {
        match self.pieces.last_mut() {
            Some(Piece::Text(last)) => last.push_str(text),
            _ if text.is_empty() => {}
            _ => self.pieces.push(Piece::Text(text.to_owned())),
        }
    }
}

const OPEN: &str = "{{";
const CLOSE: &str = "}}";

/// Where the `}}` stands that closes the expression at the start of `text`; those inside of strings do not.
fn close(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut quote = None;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match (quote, byte) {
            (Some(_), b'\\') => at += 1,
            (Some(open), found) if open == found => quote = None,
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'}') if bytes.get(at + 1) == Some(&b'}') => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

/// A text that takes up to [`MAX_RENDERED`] bytes, and as much of the last piece as still fits.
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_RENDERED - CUT.len() - self.0.len();
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        self.0.push_str(&text[..text.floor_char_boundary(room)]);
        Err(fmt::Error)
    }
}
