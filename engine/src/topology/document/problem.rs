//! What is wrong with a document, and where.

use std::fmt;
use std::ops::Range;

use super::limits::MAX_PROBLEMS;
use super::node::Node;
use super::path::FieldPath;
use super::source::Span;
use crate::context::FieldProblem;

/// One thing that is wrong.
///
/// ```
/// # use telemill_engine::topology::Problem;
/// let problem = Problem::new("topology::bad_expression", "`temprature` is no field of the payload")
///     .at("rules[1].expr")
///     .within(8..18)
///     .hint("did you mean `temperature`?");
/// assert_eq!(problem.path().to_string(), "rules[1].expr");
/// ```
///
/// A check of a typed value names the place by a path relative to that value, as above; whoever holds the [`Node`]
/// that the value came from calls [`Problem::in_node`], which makes the path absolute and finds the span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    code: &'static str,
    message: String,
    hint: Option<String>,
    label: Option<String>,
    path: FieldPath,
    span: Option<Span>,
    related: Vec<Related>,
    masked: Option<Span>,
}

/// Another place that a [`Problem`] speaks of, such as the first of two definitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Related {
    /// What is there.
    pub label: String,
    /// Its path.
    pub path: FieldPath,
    /// Its place, once known.
    pub span: Option<Span>,
}

impl Problem {
    /// A problem with a stable code, such as `topology::unknown_field`, and a message in lower case that names what
    /// is wrong.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Problem {
            code,
            message: message.into(),
            hint: None,
            label: None,
            path: FieldPath::root(),
            span: None,
            related: Vec::new(),
            masked: None,
        }
    }

    /// Says what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says a word or two under the underlined source.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Says which field is meant.
    pub fn at(mut self, path: impl Into<FieldPath>) -> Self {
        self.path = path.into();
        self
    }

    /// Narrows the place to some bytes of the string at its path.
    pub fn within(mut self, bytes: Range<usize>) -> Self {
        self.path = self.path.within(bytes);
        self
    }

    /// Says where in the text it is, for those who know.
    pub fn span(mut self, span: Span) -> Self {
        self.span = Some(span);
        self
    }

    /// Names another place that it is about.
    pub fn related(mut self, label: impl Into<String>, path: impl Into<FieldPath>, span: Option<Span>) -> Self {
        self.related.push(Related { label: label.into(), path: path.into(), span });
        self
    }

    /// Hides this part of the text when the problem is shown: it is, or may be, a secret.
    pub fn masking(mut self, span: Span) -> Self {
        self.masked = Some(span);
        self
    }

    /// Takes its paths, so far relative to `node`, and finds their places. A path that leads nowhere leads to the
    /// nearest thing that exists. A span that is known already is kept.
    pub fn in_node(mut self, node: &Node) -> Self {
        self.span = self.span.or_else(|| Some(node.locate(&self.path)));
        self.path = node.path().join(&self.path);
        for related in &mut self.related {
            related.span = related.span.or_else(|| Some(node.locate(&related.path)));
            related.path = node.path().join(&related.path);
        }
        self
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// What is wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// What to write under the source.
    pub fn label_text(&self) -> Option<&str> {
        self.label.as_deref()
    }

    /// Where it is, by name.
    pub fn path(&self) -> &FieldPath {
        &self.path
    }

    /// Where it is in the text, once known.
    pub fn place(&self) -> Option<Span> {
        self.span
    }

    /// Other places that it is about.
    pub fn related_places(&self) -> &[Related] {
        &self.related
    }

    /// The part of the text that must not be shown.
    pub fn masked(&self) -> Option<Span> {
        self.masked
    }

    /// Passes each text of it through `edit`.
    pub(super) fn map_texts(mut self, edit: impl Fn(&str) -> String, edit_hint: impl Fn(&str) -> String) -> Self {
        self.message = edit(&self.message);
        self.hint = self.hint.map(|text| edit_hint(&text));
        self.label = self.label.map(|text| edit(&text));
        for related in &mut self.related {
            related.label = edit(&related.label);
        }
        self
    }
}

impl From<FieldProblem> for Problem {
    /// What the check of a component reports, its path still relative to the component's spec.
    fn from(reported: FieldProblem) -> Self {
        let mut problem = Problem::new(reported.code, reported.message).at(reported.at);
        problem.hint = reported.hint;
        match reported.range {
            Some(bytes) => problem.within(bytes),
            None => problem,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_root() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

/// Problems as they are found. Past [`MAX_PROBLEMS`] they are only counted.
#[derive(Clone, Debug, Default)]
pub struct Problems {
    found: Vec<Problem>,
    omitted: usize,
}

impl Problems {
    /// None yet.
    pub fn new() -> Self {
        Problems::default()
    }

    /// Adds one. The same problem at the same place, seen through two aliases, counts once.
    pub fn push(&mut self, problem: Problem) {
        if self.is_full() {
            self.omitted += 1;
        } else if !self.found.iter().any(|known| is_echo(known, &problem)) {
            self.found.push(problem);
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// Whether further problems are only counted. Looking for more is then wasted work.
    pub fn is_full(&self) -> bool {
        self.found.len() >= MAX_PROBLEMS
    }

    /// How many were counted and not kept.
    pub fn omitted(&self) -> usize {
        self.omitted
    }

    /// Those kept, in the order in which they were found.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.found.iter()
    }
}

fn is_echo(known: &Problem, new: &Problem) -> bool {
    known.span.is_some() && known.span == new.span && known.code == new.code && known.message == new.message
}

impl Extend<Problem> for Problems {
    fn extend<I: IntoIterator<Item = Problem>>(&mut self, problems: I) {
        problems.into_iter().for_each(|problem| self.push(problem));
    }
}

impl FromIterator<Problem> for Problems {
    fn from_iter<I: IntoIterator<Item = Problem>>(problems: I) -> Self {
        let mut all = Problems::new();
        all.extend(problems);
        all
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Problems {
    type Item = Problem;
    type IntoIter = std::vec::IntoIter<Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.found.into_iter()
    }
}
