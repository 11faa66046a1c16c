//! Keeping passwords out of what people read.

/// What is shown instead of a secret.
const HIDDEN: &str = "***";

/// A text in which the user, the password and secret query parameters of every URL are replaced by `***`.
///
/// ```
/// # use telemill_engine::topology::document::redact::redact_url;
/// assert_eq!(redact_url("mqtt://u:p@h"), "mqtt://***@h");
/// assert_eq!(redact_url("pg://h/db?password=p&x=1"), "pg://h/db?password=***&x=1");
/// ```
///
/// Rather too much is hidden than too little: everything up to the last `@` of a URL is taken for credentials. What says
/// how a URL is written (`mqtt://[user[:password]@]host`) has none, and stays.
pub fn redact_url(text: &str) -> String {
    redact(text, FORMS)
}

/// As [`redact_url`], for a hint: its examples (`mqtt://user:password@host`) stay readable, too. Only for texts that are
/// the program's own: in what a user wrote, these words may be the password.
pub(super) fn redact_hint(text: &str) -> String {
    redact(text, EXAMPLES)
}

/// Credentials as only a description of a URL has them: the brackets cannot stand in one.
const FORMS: &[&str] = &["[user[:password]", "[user:password]", "[user:password"];
/// And as an example has them.
const EXAMPLES: &[&str] = &["[user[:password]", "[user:password]", "[user:password", "user:password", "user"];

fn redact(text: &str, but: &[&str]) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut from = 0;
    for secret in secrets_in(text).into_iter().filter(|secret| !but.contains(&&text[secret.clone()])) {
        shown.push_str(&text[from..secret.start]);
        shown.push_str(HIDDEN);
        from = secret.end;
    }
    shown.push_str(&text[from..]);
    shown
}

/// A text of the same length, in bytes, in which the same secrets are replaced by `*`.
pub(super) fn mask_urls(text: &str) -> String {
    mask(text, secrets_in(text))
}

/// A text in which each byte of the given ranges is a `*`, line ends excepted. The ranges lie on character boundaries.
pub(super) fn mask(text: &str, ranges: impl IntoIterator<Item = std::ops::Range<usize>>) -> String {
    let mut masked = text.to_owned();
    for range in ranges {
        let hidden: String = text[range.clone()]
            .chars()
            .flat_map(|c| std::iter::repeat_n(if matches!(c, '\n' | '\r') { c } else { '*' }, c.len_utf8()))
            .collect();
        masked.replace_range(range, &hidden);
    }
    masked
}

/// The secrets of all URLs in a text, in order, without overlap.
fn secrets_in(text: &str) -> Vec<std::ops::Range<usize>> {
    let mut secrets = Vec::new();
    let mut from = 0;
    while let Some(at) = text[from..].find("://") {
        let start = from + at + "://".len();
        let url = &text[start..];
        let end = start
            + url.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>')).unwrap_or(url.len());
        let mut behind = start;
        if let Some(at) = text[start..end].rfind('@') {
            secrets.push(start..start + at);
            behind = start + at;
        }
        secrets.extend(secret_parameters(text, behind, end));
        from = end;
    }
    secrets
}

fn secret_parameters(text: &str, start: usize, end: usize) -> Vec<std::ops::Range<usize>> {
    const NAMES: &[&str] = &["password", "passwd", "secret", "token", "api_key", "apikey", "access_key"];
    let mut found = Vec::new();
    let Some(query) = text[start..end].find('?') else {
        return found;
    };
    let mut at = start + query + 1;
    for parameter in text[at..end].split(['&', ';']) {
        if let Some((name, value)) = parameter.split_once('=') {
            let name_folded = name.to_ascii_lowercase().replace('-', "_");
            if !value.is_empty() && NAMES.iter().any(|secret| name_folded.contains(secret)) {
                let value_at = at + name.len() + 1;
                found.push(value_at..value_at + value.len());
            }
        }
        at += parameter.len() + 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_is_readable_and_a_secret_is_not() {
        let form = "mqtt://[user[:password]@]host[:port]";
        let redis = "write redis://[user:password@]host[:port][/database]";
        let example = "such as `mqtt://user:password@host` or mqtt://user@host";
        for text in [form, redis] {
            assert_eq!((redact_url(text), redact_hint(text)), (text.to_owned(), text.to_owned()));
        }
        assert_eq!(redact_hint(example), example);
        assert_eq!(redact_url(example), "such as `mqtt://***@host` or mqtt://***@host");
        for secret in ["mqtt://user:s3cret@host", "mqtt://[user:s3cret]@host", "mqtt://user:password:s3cret@host"] {
            assert_eq!(redact_hint(secret), "mqtt://***@host");
            assert_eq!(redact_url(secret), "mqtt://***@host");
        }
        assert_eq!(
            mask_urls("mqtt://user:password@h"),
            "mqtt://*************@h",
            "what a user wrote is masked all the same"
        );
    }

    #[test]
    fn credentials_are_hidden_and_the_rest_is_kept() {
        for (text, shown) in [
            ("mqtt://u:p@h", "mqtt://***@h"),
            ("redis://:p%40@h:6379/0", "redis://***@h:6379/0"),
            ("amqp://u:p@h1,u:q@h2/v", "amqp://***@h2/v"),
            ("http://u:p/w@h", "http://***@h"),
            ("http://h/path", "http://h/path"),
            ("see `mqtt://u:p@h` and a@b", "see `mqtt://***@h` and a@b"),
            ("x://u:p@h?Password=1&a=2 y://h?auth-token=t", "x://***@h?Password=***&a=2 y://h?auth-token=***"),
            ("no url", "no url"),
        ] {
            assert_eq!(redact_url(text), shown);
            assert_eq!(mask_urls(text).len(), text.len());
        }
        assert_eq!(mask_urls("mqtt://u:pé@h"), "mqtt://*****@h");
    }
}
