//! One problem, drawn.

use std::fmt;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, SourceCode, ThemeCharacters, ThemeStyles,
};

use super::excerpt::Excerpt;
use super::{Diagnostics, Style};
use crate::topology::document::problem::Problem;
use crate::topology::document::source::Span;

/// Draws a problem.
pub(super) fn render(text: &mut String, excerpt: &Excerpt, problem: &Problem, style: Style) {
    let mut characters = if style.unicode { ThemeCharacters::unicode() } else { ThemeCharacters::ascii() };
    characters.error = format!("error[{}]:", problem.code());
    let styles = if style.color { ThemeStyles::ansi() } else { ThemeStyles::none() };
    // Lines are not wrapped: a message stays one line that can be searched for.
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme { characters, styles })
        .with_links(false)
        .with_wrap_lines(false)
        .without_syntax_highlighting();
    let report = Report { excerpt, problem };
    let mut drawn = String::new();
    if handler.render_report(&mut drawn, &report).is_err() {
        let position = excerpt.original().position(problem.place().unwrap_or_default().start);
        let name = excerpt.original().name();
        drawn = format!("error[{}]: {report}\n  [{name}:{}:{}]\n", problem.code(), position.line, position.column);
    }
    // The handler indents the headline for an icon.
    let headline = drawn.find("error[").unwrap_or_default();
    text.extend(drawn.get(..headline).unwrap_or_default().chars().filter(|c| *c != ' '));
    for line in drawn.get(headline..).unwrap_or_default().lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    for (label, span) in report.others().filter(|(_, span)| !report.is_near(*span)) {
        let position = excerpt.original().position(span.start);
        text.push_str(&format!(
            "  note: {label} at {}:{}:{}\n",
            excerpt.original().name(),
            position.line,
            position.column
        ));
    }
}

struct Report<'a> {
    excerpt: &'a Excerpt,
    problem: &'a Problem,
}

impl Report<'_> {
    fn place(&self) -> Span {
        self.problem.place().unwrap_or_default()
    }

    /// Other places that it is about.
    fn others(&self) -> impl Iterator<Item = (&str, Span)> {
        self.problem.related_places().iter().filter_map(|other| Some((other.label.as_str(), other.span?)))
    }

    /// Whether a place is drawn together with the problem's own. One further away is named in a note instead, so that
    /// the first place that is read is that of the problem.
    fn is_near(&self, span: Span) -> bool {
        const LINES: usize = 4;
        let line = |span: Span| self.excerpt.original().line_of(self.excerpt.original().clamp(span).start);
        line(self.place()).abs_diff(line(span)) <= LINES
    }

    fn label(&self, text: Option<&str>, span: Span, primary: bool) -> LabeledSpan {
        let span = self.excerpt.shown(Diagnostics::underlined(self.excerpt.original(), span));
        let place = (span.start, span.len());
        let text = text.map(str::to_owned);
        if primary { LabeledSpan::new_primary_with_span(text, place) } else { LabeledSpan::new_with_span(text, place) }
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.problem.message())
    }
}

impl fmt::Debug for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)
    }
}

impl std::error::Error for Report<'_> {}

impl Diagnostic for Report<'_> {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.problem.hint_text().map(|hint| Box::new(hint) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self.excerpt)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let primary = self.label(self.problem.label_text(), self.place(), true);
        let near = self.others().filter(|(_, span)| self.is_near(*span));
        let others = near.map(|(label, span)| self.label(Some(label), span, false));
        Some(Box::new(std::iter::once(primary).chain(others)))
    }
}
