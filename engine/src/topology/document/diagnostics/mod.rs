//! Problems, ready to be shown: to a person with the source around them, to a program as JSON.
//!
//! Both are in the order of the file and name `file:line:column`. Neither shows what the environment put in, nor the
//! password of a URL: not in the messages, and not in the lines of source around them.

mod excerpt;
mod report;

use std::fmt;

use serde_json::{Value, json};

use super::problem::{Problem, Problems};
use super::redact::{redact_hint, redact_url};
use super::source::{Position, Source, Span};
use excerpt::Excerpt;

/// How diagnostics are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// With ANSI colours.
    pub color: bool,
    /// With lines drawn in Unicode rather than ASCII.
    pub unicode: bool,
}

impl Style {
    /// Plain ASCII, for logs, files and pipes.
    pub const PLAIN: Style = Style { color: false, unicode: false };
    /// For a terminal.
    pub const TERMINAL: Style = Style { color: true, unicode: true };
}

/// The problems of one text, in the order in which they stand there.
///
/// `Display` draws them in plain ASCII; [`Diagnostics::render`] in any [`Style`].
#[derive(Clone, Debug)]
pub struct Diagnostics {
    source: Source,
    problems: Vec<Problem>,
    omitted: usize,
}

impl Diagnostics {
    /// The problems of a text. Prefer [`super::Document::diagnostics`] once there is a document: it hides what the
    /// environment put in.
    pub fn new(source: Source, problems: Problems) -> Self {
        Diagnostics::hiding(source, problems, str::to_owned)
    }

    pub(super) fn hiding(source: Source, problems: Problems, hide: impl Fn(&str) -> String) -> Self {
        let omitted = problems.omitted();
        let redacted = |text: &str| redact_url(&hide(text));
        let hint = |text: &str| redact_hint(&hide(text));
        let mut problems: Vec<Problem> =
            problems.into_iter().map(|problem| problem.map_texts(redacted, hint)).collect();
        // Stable: what was found first at a place stays first.
        problems.sort_by_key(|problem| problem.place().map(|span| span.start));
        Diagnostics { source, problems, omitted }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.problems.len()
    }

    /// The problems, in the order of the text.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.problems.iter()
    }

    /// The text that they are about.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The line and column of a problem; those of the start for one that has no place.
    pub fn position(&self, problem: &Problem) -> Position {
        self.source.position(problem.place().unwrap_or_default().start)
    }

    /// All problems with the source around them, for a person.
    pub fn render(&self, style: Style) -> String {
        let masked = self.problems.iter().filter_map(Problem::masked);
        let excerpt = Excerpt::new(&self.source, masked);
        let mut text = String::new();
        for problem in &self.problems {
            report::render(&mut text, &excerpt, problem, style);
            text.push('\n');
        }
        if self.omitted > 0 {
            text.push_str(&format!("and {} more problems in {}\n", self.omitted, self.source.name()));
        }
        text
    }

    /// All problems for a program: a list of `{code, message, hint, file, line, column, path}`; `hint` may be null.
    pub fn to_json(&self) -> Value {
        let problems = self.problems.iter().map(|problem| {
            let Position { line, column } = self.position(problem);
            json!({
                "code": problem.code(),
                "message": problem.message(),
                "hint": problem.hint_text(),
                "file": self.source.name(),
                "line": line,
                "column": column,
                "path": problem.path().to_string(),
            })
        });
        Value::Array(problems.collect())
    }

    /// The part of the source that is underlined for a span: what is on its first line, one character at least.
    pub(super) fn underlined(source: &Source, span: Span) -> Span {
        let line = source.first_line(source.clamp(span));
        if line.is_empty() { source.clamp(Span::new(line.start, line.start + 1)) } else { line }
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Style::PLAIN))
    }
}

impl std::error::Error for Diagnostics {}

#[cfg(test)]
mod tests;
