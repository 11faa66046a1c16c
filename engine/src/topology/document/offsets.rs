//! From a byte of a string's value to the byte of the file that wrote it.
//!
//! The value of a quoted scalar is not its text (`'it''s'`, `"\n"`), so a column inside an expression can only be
//! shown when the escapes are walked. Scalars of several lines and values that the environment changed have no such
//! mapping; a problem inside them is shown at the whole scalar.

use std::ops::Range;

use super::source::Span;

/// How to find bytes of a string's value in the file.
#[derive(Clone, Debug, Default)]
pub(super) enum Offsets {
    /// Not at all.
    #[default]
    Unknown,
    /// Value and text are the same from this byte of the file on.
    Same(usize),
    /// The text has escapes.
    Escaped {
        /// Where the text between the quotes starts.
        start: usize,
        /// The text between the quotes.
        text: Box<str>,
        /// The quote.
        quote: Quote,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quote {
    Single,
    Double,
}

impl Offsets {
    /// The mapping for a scalar that is `written` like that from `start` on.
    pub(super) fn of(value: &str, written: &str, start: usize) -> Self {
        if written.contains(['\n', '\r']) {
            return Offsets::Unknown;
        }
        // A block scalar of one line has a line end that its text, cut off at the end of the line, has not.
        if written == value.trim_end_matches('\n') {
            return Offsets::Same(start);
        }
        let quote = match written.as_bytes().first() {
            Some(b'\'') => Quote::Single,
            Some(b'"') => Quote::Double,
            _ => return Offsets::Unknown,
        };
        let Some(text) = written.get(1..written.len().saturating_sub(1)) else {
            return Offsets::Unknown;
        };
        let start = start + 1;
        if text == value { Offsets::Same(start) } else { Offsets::Escaped { start, text: text.into(), quote } }
    }

    /// The place of some bytes of `value`.
    pub(super) fn locate(&self, value: &str, bytes: &Range<usize>) -> Option<Span> {
        if bytes.start > bytes.end || bytes.end > value.len() {
            return None;
        }
        match self {
            Offsets::Unknown => None,
            Offsets::Same(start) => Some(Span::new(start + bytes.start, start + bytes.end)),
            Offsets::Escaped { start, text, quote } => {
                let mut from = *start;
                let (mut in_value, mut in_text) = (0, 0);
                loop {
                    // The start is the last unit that begins at or before it, the end the first at or behind it.
                    if in_value <= bytes.start {
                        from = start + in_text;
                    }
                    if in_value >= bytes.end {
                        return Some(Span::new(from, start + in_text));
                    }
                    let (written, meant) = unit(text.get(in_text..)?, *quote)?;
                    in_text += written;
                    in_value += meant;
                }
            }
        }
    }
}

/// How many bytes the first character of `text` takes, as written and as meant.
fn unit(text: &str, quote: Quote) -> Option<(usize, usize)> {
    let first = text.chars().next()?;
    match (quote, first) {
        (Quote::Single, '\'') => Some((2, 1)),
        (Quote::Double, '\\') => {
            let escape = text[1..].chars().next()?;
            let digits = |from: usize, count| u32::from_str_radix(text.get(from..from + count)?, 16).ok();
            match escape {
                'x' => Some((4, char::from_u32(digits(2, 2)?)?.len_utf8())),
                'u' => match digits(2, 4)? {
                    0xD800..=0xDBFF => Some((12, 4)),
                    code => Some((6, char::from_u32(code)?.len_utf8())),
                },
                'U' => Some((10, char::from_u32(digits(2, 8)?)?.len_utf8())),
                'N' | '_' => Some((2, 2)),
                'L' | 'P' => Some((2, 3)),
                other => Some((1 + other.len_utf8(), 1)),
            }
        }
        (_, plain) => Some((plain.len_utf8(), plain.len_utf8())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(written: &str, value: &str, part: &str, expected: &str) {
        let at = value.find(part).expect("the part is in the value");
        let span = Offsets::of(value, written, 0).locate(value, &(at..at + part.len()));
        assert_eq!(span.map(|span| &written[span.start..span.end]), Some(expected), "{written}");
    }

    #[test]
    fn a_part_of_a_scalar_is_found_where_it_is_written() {
        check("payload.temp > 80", "payload.temp > 80", "temp", "temp");
        check("payload.temp", "payload.temp\n", "temp", "temp");
        check("'payload.temp'", "payload.temp", "temp", "temp");
        check("'it''s hot'", "it's hot", "hot", "hot");
        check("'it''s hot'", "it's hot", "'s", "''s");
        check(r#""a\n\"b\" c""#, "a\n\"b\" c", "b", "b");
        check(r#""\x41\u00e9\U0001F600 z""#, "Aé😀 z", "é", r"\u00e9");
        check(r#""\ud83d\ude00 z""#, "😀 z", "z", "z");
        check(r#""\N\_\L z""#, "\u{85}\u{a0}\u{2028} z", "z", "z");
    }

    #[test]
    fn what_cannot_be_found_is_not_guessed() {
        assert!(Offsets::of("a b", "a\n b", 0).locate("a b", &(0..1)).is_none());
        assert!(Offsets::of("ab", "ab", 0).locate("ab", &(1..3)).is_none());
        assert!(Offsets::of("x", "${X}", 0).locate("x", &(0..1)).is_none());
    }
}
