//! Text to words.
//!
//! Follows the lexical grammar of CEL: numbers, comments and operators here, strings in `literal`. What CEL does not
//! know but people type out of habit (`=`, `and`, `$value`, curly quotes) is refused with what to write instead.

use super::error::{ExprError, codes};
use super::literal;
use super::token::{Spanned, Token};

/// The words of `text`, ending with [`Token::End`]; the first error otherwise.
pub(super) fn tokens(text: &str) -> Result<Vec<Spanned>, ExprError> {
    let mut lexer = Lexer {
        text,
        at: 0,
        out: Vec::new(),
    };
    while lexer.step()? {}
    lexer.out.push(Spanned {
        token: Token::End,
        span: text.len()..text.len(),
    });
    Ok(lexer.out)
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    out: Vec<Spanned>,
}

impl Lexer<'_> {
    fn byte(&self, ahead: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + ahead).copied()
    }

    /// The end of the run of bytes from `from` that satisfy `wanted`. They are ASCII, so it is a character boundary.
    fn run(&self, from: usize, wanted: impl Fn(u8) -> bool) -> usize {
        let rest = &self.text.as_bytes()[from..];
        from + rest.iter().take_while(|byte| wanted(**byte)).count()
    }

    fn push(&mut self, token: Token, end: usize) {
        self.out.push(Spanned {
            token,
            span: self.at..end,
        });
        self.at = end;
    }

    /// Reads one word or the space before it; false at the end.
    fn step(&mut self) -> Result<bool, ExprError> {
        let Some(byte) = self.byte(0) else {
            return Ok(false);
        };
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' | 0x0c => self.at += 1,
            b'/' if self.byte(1) == Some(b'/') => {
                self.at = self.run(self.at, |byte| byte != b'\n');
            }
            b'"' | b'\'' => self.string(0)?,
            b'r' | b'R' if matches!(self.byte(1), Some(b'"' | b'\'')) => self.string(1)?,
            b'b' | b'B' if matches!(self.byte(1), Some(b'"' | b'\'')) => {
                let span = self.at..self.at + 1;
                return Err(ExprError::new(
                    codes::UNSUPPORTED,
                    span,
                    "byte strings are not supported",
                )
                .hint("write a string without the `b`"));
            }
            b'0'..=b'9' => self.number()?,
            b'.' if self.starts_fraction() => self.number()?,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => self.word(),
            _ => self.operator()?,
        }
        Ok(true)
    }

    /// `.5` is a number, but not in `payload.5`.
    fn starts_fraction(&self) -> bool {
        self.byte(1).is_some_and(|byte| byte.is_ascii_digit())
            && !self
                .out
                .last()
                .is_some_and(|last| last.token.ends_operand())
    }

    fn word(&mut self) {
        let end = self.run(self.at, is_word);
        let token = match &self.text[self.at..end] {
            "true" => Token::True,
            "false" => Token::False,
            "null" => Token::Null,
            "in" => Token::In,
            name => Token::Ident(name.to_owned()),
        };
        self.push(token, end);
    }

    fn string(&mut self, prefix: usize) -> Result<(), ExprError> {
        let (value, end) = literal::string(self.text, self.at + prefix, prefix > 0)?;
        self.push(Token::Str(value), end);
        Ok(())
    }

    fn number(&mut self) -> Result<(), ExprError> {
        let start = self.at;
        let hex = self.byte(0) == Some(b'0') && self.byte(1) == Some(b'x');
        let (digits, radix) = if hex { (start + 2, 16) } else { (start, 10) };
        let mut end = if hex {
            self.run(digits, |byte| byte.is_ascii_hexdigit())
        } else {
            self.run(digits, |byte| byte.is_ascii_digit())
        };
        let whole = end;
        if !hex {
            end = self.fraction(end);
        }
        let suffix_end = self.run(end, is_word);
        let suffix = &self.text[end..suffix_end];
        let span = start..suffix_end;
        let out_of_range = |span| {
            ExprError::new(codes::SYNTAX, span, "the number is out of range")
                .hint("an int has 64 bits, a double reaches to 1.8e308")
        };

        if suffix.is_empty() && end > whole {
            let value: f64 = self.text[start..end]
                .parse()
                .map_err(|_| bad_number(&self.text[span.clone()], span.clone()))?;
            if !value.is_finite() {
                return Err(out_of_range(span));
            }
            self.push(Token::Double(value), end);
            return Ok(());
        }
        let unsigned = matches!(suffix, "u" | "U");
        if end == whole && digits < end && (suffix.is_empty() || unsigned) {
            let value = u64::from_str_radix(&self.text[digits..end], radix)
                .map_err(|_| out_of_range(span))?;
            let token = if unsigned {
                Token::Uint(value)
            } else {
                Token::Int(value)
            };
            self.push(token, suffix_end);
            return Ok(());
        }
        let written = &self.text[span.clone()];
        if !hex && literal::is_duration(written) {
            self.push(Token::Duration(written.to_owned()), suffix_end);
            return Ok(());
        }
        Err(bad_number(written, span))
    }

    /// The end of a fraction and an exponent that begin at `at`; `at` itself if there is neither.
    fn fraction(&self, at: usize) -> usize {
        let bytes = self.text.as_bytes();
        let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
        let mut end = at;
        if bytes.get(end) == Some(&b'.') && digit(end + 1) {
            end = self.run(end + 1, |byte| byte.is_ascii_digit());
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            let signed = matches!(bytes.get(end + 1), Some(b'+' | b'-'));
            let digits = end + 1 + usize::from(signed);
            if digit(digits) {
                end = self.run(digits, |byte| byte.is_ascii_digit());
            }
        }
        end
    }

    fn operator(&mut self) -> Result<(), ExprError> {
        let rest = &self.text[self.at..];
        for (sign, token) in OPERATORS {
            if rest.starts_with(sign) {
                self.push(token.clone(), self.at + sign.len());
                return Ok(());
            }
        }
        let found = rest.chars().next().unwrap_or('\0');
        let span = self.at..self.at + found.len_utf8();
        let hint = habit(found).unwrap_or("a text is written in quotes");
        Err(ExprError::new(
            codes::SYNTAX,
            span,
            format!("`{}` is not part of the language", found.escape_debug()),
        )
        .hint(hint))
    }
}

/// Longer signs before their own beginnings.
const OPERATORS: [(&str, Token); 22] = [
    ("&&", Token::And),
    ("||", Token::Or),
    ("==", Token::Equal),
    ("!=", Token::NotEqual),
    ("<=", Token::LessEq),
    (">=", Token::GreaterEq),
    ("<", Token::Less),
    (">", Token::Greater),
    ("!", Token::Not),
    ("-", Token::Minus),
    ("+", Token::Plus),
    ("*", Token::Star),
    ("/", Token::Slash),
    ("%", Token::Percent),
    ("(", Token::LParen),
    (")", Token::RParen),
    ("[", Token::LBracket),
    ("]", Token::RBracket),
    (".", Token::Dot),
    (",", Token::Comma),
    ("?", Token::Question),
    (":", Token::Colon),
];

/// What to write instead of a character that other languages use.
fn habit(found: char) -> Option<&'static str> {
    match found {
        '=' => Some("write `==` to compare"),
        '&' => Some("write `&&` for \"and\""),
        '|' => Some("write `||` for \"or\""),
        '$' => Some("write the name without the `$`"),
        '\u{2264}' => Some("write `<=`"),
        '\u{2265}' => Some("write `>=`"),
        '\u{2260}' => Some("write `!=`"),
        '`' => Some("a name like that is written in brackets: `payload[\"odd name\"]`"),
        '\u{2018}' | '\u{2019}' | '\u{201c}' | '\u{201d}' => {
            Some("write strings in straight quotes: \"text\" or 'text'")
        }
        letter if letter.is_alphabetic() => {
            Some("a name like that is written in brackets: `payload[\"größe\"]`")
        }
        '{' | '}' => Some("maps and messages cannot be written in an expression"),
        _ => None,
    }
}

fn bad_number(written: &str, span: std::ops::Range<usize>) -> ExprError {
    ExprError::new(codes::SYNTAX, span, format!("`{written}` is not a number"))
        .hint("numbers are written 80, 80.5, 1e3, 0x1f")
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}
