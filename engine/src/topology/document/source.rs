//! The text of a file and places in it.
//!
//! A place is a [`Span`] of bytes, which is cheap to carry and to compare; the line and column that a person reads
//! are worked out from the text when a problem is shown.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A range of bytes in a [`Source`], the end excluded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// The byte behind the last one.
    pub end: usize,
}

impl Span {
    /// A span from `start` to `end`.
    pub fn new(start: usize, end: usize) -> Self {
        Span { start, end: end.max(start) }
    }

    /// The number of bytes.
    pub fn len(self) -> usize {
        self.end - self.start
    }

    /// Whether it covers nothing.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

impl From<Range<usize>> for Span {
    fn from(range: Range<usize>) -> Self {
        Span::new(range.start, range.end)
    }
}

/// A line and a column, both counted from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// A named text. Clones share it.
///
/// `Debug` shows the name alone: the text may hold what must not be printed.
#[derive(Clone)]
pub struct Source(Arc<Inner>);

struct Inner {
    name: String,
    text: String,
    line_starts: Vec<usize>,
}

impl Source {
    /// A text and the name, usually the path, that diagnostics call it by.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Source(Arc::new(Inner { name: name.into(), text, line_starts }))
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The text of a span; as much of it as there is.
    pub fn slice(&self, span: Span) -> &str {
        let span = self.clamp(span);
        &self.0.text[span.start..span.end]
    }

    /// The line and column of a byte.
    pub fn position(&self, offset: usize) -> Position {
        let offset = self.clamp(Span::new(offset, offset)).start;
        let line = self.line_of(offset);
        let column = self.0.text[self.0.line_starts[line]..offset].chars().count() + 1;
        Position { line: line + 1, column }
    }

    /// The nearest span that lies in the text, on character boundaries.
    pub(super) fn clamp(&self, span: Span) -> Span {
        let text = &self.0.text;
        Span::new(text.floor_char_boundary(span.start), text.ceil_char_boundary(span.end))
    }

    /// The part of a span that lies on its first line, without trailing blanks.
    pub(super) fn first_line(&self, span: Span) -> Span {
        let text = self.slice(span);
        let line = text.split(['\n', '\r']).next().unwrap_or_default().trim_end();
        Span::new(span.start, span.start + line.len())
    }

    /// The index of the line of a byte, counted from 0.
    pub(super) fn line_of(&self, offset: usize) -> usize {
        self.0.line_starts.partition_point(|start| *start <= offset) - 1
    }

    /// The bytes of a line with its end, by index; `None` past the last.
    pub(super) fn line(&self, index: usize) -> Option<Span> {
        let start = *self.0.line_starts.get(index)?;
        let end = self.0.line_starts.get(index + 1).copied().unwrap_or(self.0.text.len());
        Some(Span::new(start, end))
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Source").field(&self.0.name).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_from_one() {
        let source = Source::new("t.yaml", "é: 1\nname: x\n");
        for (offset, line, column) in [(0, 1, 1), (2, 1, 2), (1, 1, 1), (6, 2, 1), (12, 2, 7), (14, 3, 1), (999, 3, 1)]
        {
            assert_eq!(source.position(offset), Position { line, column }, "offset {offset}");
        }
    }

    #[test]
    fn the_first_line_of_a_span_has_no_trailing_blanks() {
        let source = Source::new("t", "a:  \r\n  b\n");
        assert_eq!(source.first_line(Span::new(0, 9)), Span::new(0, 2));
    }
}
