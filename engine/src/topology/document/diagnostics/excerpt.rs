//! The source as it may be shown: nothing secret, nothing that a terminal would obey, no endless lines.

use miette::{MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};

use crate::topology::document::redact::{mask, mask_urls};
use crate::topology::document::source::{Source, Span};

/// A line longer than this, in bytes, is shown in part.
const LONGEST_LINE: usize = 240;
/// How much of a long line is shown before the place in question.
const BEFORE: usize = 60;
/// No more than this is shown in one piece.
const LONGEST_PIECE: usize = 16 * LONGEST_LINE;

/// A source, fit to be shown: each byte of it stands for the byte of the original at the same place.
pub(super) struct Excerpt {
    /// For lines and columns: what hides a character of several bytes is several characters.
    original: Source,
    source: Source,
}

impl Excerpt {
    pub(super) fn new(source: &Source, masked: impl Iterator<Item = Span>) -> Self {
        let ranges = masked.map(|span| source.clamp(span)).map(|span| span.start..span.end);
        let text: String = mask_urls(&mask(source.text(), ranges)).chars().map(harmless).collect();
        Excerpt { original: source.clone(), source: Source::new(source.name(), text) }
    }

    /// The source as it is.
    pub(super) fn original(&self) -> &Source {
        &self.original
    }

    /// The part of a span that is shown when its line is too long to be shown whole.
    pub(super) fn shown(&self, span: Span) -> Span {
        let line = self.line_at(span.start);
        if line.len() <= LONGEST_LINE {
            return span;
        }
        self.source.clamp(Span::new(span.start, span.end.min(span.start + LONGEST_LINE - BEFORE)))
    }

    fn line_at(&self, offset: usize) -> Span {
        self.source.line(self.source.line_of(offset)).unwrap_or_default()
    }

    fn contents(&self, span: Span, column: usize, line: usize) -> Box<dyn SpanContents<'_> + '_> {
        let text = self.source.slice(span);
        let place = (span.start, text.len()).into();
        let lines = text.matches('\n').count().max(1);
        let contents =
            MietteSpanContents::new_named(self.original.name().to_owned(), text.as_bytes(), place, line, column, lines);
        Box::new(contents)
    }
}

impl SourceCode for Excerpt {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let span = self.source.clamp(Span::new(span.offset(), span.offset() + span.len()));
        let first = self.source.line_of(span.start);
        if lines_before == 0 && lines_after == 0 {
            let position = self.original.position(span.start);
            return Ok(self.contents(span, position.column - 1, first));
        }
        let line = self.line_at(span.start);
        if line.len() > LONGEST_LINE && span.end <= line.end {
            let start = span.start.saturating_sub(BEFORE).max(line.start);
            let part = self.source.clamp(Span::new(start, (start + LONGEST_LINE).min(line.end)));
            return Ok(self.contents(part, self.original.position(part.start).column - 1, first));
        }
        let last = self.source.line_of(span.end);
        let from = first.saturating_sub(lines_before);
        // Lines around it are a courtesy: none rather than long ones.
        let short = |index: &usize| self.source.line(*index).is_some_and(|line| line.len() <= LONGEST_LINE);
        let from = (from..first).rev().take_while(short).last().unwrap_or(first);
        let to = (last + 1..=last + lines_after).take_while(short).last().unwrap_or(last);
        let start = self.source.line(from).unwrap_or_default().start;
        let end = self.source.line(to).unwrap_or_default().end;
        if end - start > LONGEST_PIECE {
            return Err(MietteError::OutOfBounds);
        }
        Ok(self.contents(Span::new(start, end), 0, from))
    }
}

/// The character, or one of the same length if it could change how a terminal shows the text.
fn harmless(c: char) -> char {
    match c {
        '\n' | '\r' | '\t' => c,
        c if c.is_ascii_control() => '?',
        '\u{80}'..='\u{9f}' => '¿',
        // Marks that reorder text, and separators of lines and paragraphs.
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => '\u{fffd}',
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_has_the_places_of_the_original() {
        let text = "a: \u{1b}[31m\u{202e}x\u{85}\u{feff}\tü\r\n";
        let excerpt = Excerpt::new(&Source::new("t", text), std::iter::once(Span::new(0, 1)));
        assert_eq!(excerpt.source.text(), "*: ?[31m\u{fffd}x¿\u{fffd}\tü\r\n");
        assert_eq!(excerpt.source.text().len(), text.len());
    }
}
