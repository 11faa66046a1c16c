//! String literals with CEL's escapes, and durations.

use super::error::{ExprError, codes};

/// The string whose opening quote is at `at`, and the byte behind its closing quote.
///
/// Single or double quotes, tripled for text over several lines; `raw` strings take a backslash as it is.
pub(super) fn string(text: &str, at: usize, raw: bool) -> Result<(String, usize), ExprError> {
    let quote = &text[at..at + 1];
    let tripled = text[at..].starts_with(&quote.repeat(3));
    let close = if tripled {
        quote.repeat(3)
    } else {
        quote.to_owned()
    };
    let unterminated = |end: usize| {
        ExprError::new(codes::SYNTAX, at..end, "the string is not closed")
            .hint(format!("close it with `{close}`"))
    };

    let mut value = String::new();
    let mut place = at + close.len();
    loop {
        let rest = &text[place..];
        if rest.starts_with(&close) {
            return Ok((value, place + close.len()));
        }
        let Some(found) = rest.chars().next() else {
            return Err(unterminated(text.len()));
        };
        match found {
            '\n' | '\r' if !tripled => return Err(unterminated(place)),
            '\\' if !raw => {
                let (escaped, end) = escape(text, place)?;
                value.push(escaped);
                place = end;
            }
            _ => {
                value.push(found);
                place += found.len_utf8();
            }
        }
    }
}

/// The character that the escape at `at` (its backslash) stands for, and the byte behind it.
fn escape(text: &str, at: usize) -> Result<(char, usize), ExprError> {
    let Some(letter) = text[at + 1..].chars().next() else {
        return Err(
            ExprError::new(codes::SYNTAX, at..at + 1, "the string ends in a backslash")
                .hint("write a backslash as `\\\\`"),
        );
    };
    let behind = at + 1 + letter.len_utf8();
    let plain = match letter {
        '\\' | '"' | '\'' | '`' | '?' => letter,
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        'x' | 'X' => return code_point(text, at, behind, 2, 16),
        'u' => return code_point(text, at, behind, 4, 16),
        'U' => return code_point(text, at, behind, 8, 16),
        '0'..='3' => return code_point(text, at, at + 1, 3, 8),
        _ => {
            return Err(ExprError::new(
                codes::SYNTAX,
                at..behind,
                format!("unknown escape `\\{}`", letter.escape_debug()),
            )
            .hint("write a backslash as `\\\\`"));
        }
    };
    Ok((plain, behind))
}

/// An escape that names its character by number: `count` digits from `digits` on.
fn code_point(
    text: &str,
    at: usize,
    digits: usize,
    count: usize,
    radix: u32,
) -> Result<(char, usize), ExprError> {
    let end = digits + count;
    text.get(digits..end)
        .filter(|written| written.chars().all(|digit| digit.is_digit(radix)))
        .and_then(|written| u32::from_str_radix(written, radix).ok())
        .and_then(char::from_u32)
        .map(|found| (found, end))
        .ok_or_else(|| {
            let kind = if radix == 16 { "hexadecimal" } else { "octal" };
            let end = text.floor_char_boundary(end.min(text.len()));
            ExprError::new(codes::SYNTAX, at..end, "the escape names no character").hint(format!(
                "it takes {count} {kind} digits of a Unicode character"
            ))
        })
}

/// Whether `written` is a duration such as `5m` or `1h30m`.
pub(super) fn is_duration(written: &str) -> bool {
    let mut rest = written;
    while !rest.is_empty() {
        let number = rest.trim_start_matches(|found: char| found.is_ascii_digit() || found == '.');
        let unit_end = number
            .find(|found: char| !found.is_ascii_alphabetic())
            .unwrap_or(number.len());
        let known = matches!(
            &number[..unit_end],
            "ns" | "us" | "ms" | "s" | "m" | "h" | "d" | "w"
        );
        if number.len() == rest.len() || !known {
            return false;
        }
        rest = &number[unit_end..];
    }
    true
}
