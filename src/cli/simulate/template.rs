//! Payload templates: JSON with placeholders, `{"n":{{seq}},"t":{{temperature}}}`.
//!
//! A template is checked before the first byte is sent: its placeholders, and that what it renders to is JSON. `{{` is
//! not JSON outside a string, so a placeholder needs no escape.

use std::fmt::Write as _;

use thiserror::Error;

use super::random::Random;

/// What the placeholders stand for in one payload.
pub(super) struct Values<'a> {
    pub(super) device_id: &'a str,
    /// The running number of the device's records, from 1.
    pub(super) seq: u64,
    /// In degrees Celsius.
    pub(super) temperature: f64,
    /// Unix time in milliseconds.
    pub(super) now_ms: u64,
}

/// A checked template.
#[derive(Debug)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, PartialEq)]
enum Part {
    Text(String),
    DeviceId,
    Seq,
    Uuid,
    Now,
    Temperature,
    Whole { min: i64, max: i64 },
    Decimal { min: f64, max: f64, digits: usize },
}

/// Why a text is no payload template. Columns count characters from 1.
#[derive(Debug, Error, PartialEq)]
pub(super) enum TemplateError {
    #[error("the `{{{{` at column {0} has no `}}}}`")]
    Open(usize),
    #[error(
        "`{{{{{name}}}}}` at column {column} is no placeholder; there are device_id, seq, uuid, now, temperature and \
         `rand MIN MAX`"
    )]
    Unknown { name: String, column: usize },
    #[error("`{{{{rand}}}}` at column {0} needs two numbers, the smaller first, as in `{{{{rand 1 6}}}}`")]
    Rand(usize),
    #[error("the payload is not JSON ({problem}); it renders to: {rendered}")]
    NotJson { problem: String, rendered: String },
}

impl Template {
    /// Takes a template apart and proves that it renders to JSON.
    pub(super) fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("{{") {
            let column = text[..text.len() - rest.len() + start].chars().count() + 1;
            let end = rest[start..].find("}}").ok_or(TemplateError::Open(column))? + start;
            if start > 0 {
                parts.push(Part::Text(rest[..start].to_owned()));
            }
            parts.push(placeholder(rest[start + 2..end].trim(), column)?);
            rest = &rest[end + 2..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        let template = Template { parts };
        template.check_json()?;
        Ok(template)
    }

    /// Placeholders stand for the same kind of value every time, so one rendering speaks for all.
    fn check_json(&self) -> Result<(), TemplateError> {
        let values = Values { device_id: "device-1", seq: 1, temperature: 20.0, now_ms: 1_700_000_000_000 };
        let rendered = self.render(&values, &mut Random::new(0, 0));
        match serde_json::from_str::<serde::de::IgnoredAny>(&rendered) {
            Ok(_) => Ok(()),
            Err(error) => {
                let rendered = match rendered.char_indices().nth(200) {
                    Some((end, _)) => format!("{}…", &rendered[..end]),
                    None => rendered,
                };
                Err(TemplateError::NotJson { problem: error.to_string(), rendered })
            }
        }
    }

    /// One payload.
    pub(super) fn render(&self, values: &Values<'_>, random: &mut Random) -> String {
        let mut out = String::with_capacity(128);
        for part in &self.parts {
            let written = match part {
                Part::Text(text) => out.write_str(text),
                Part::DeviceId => out.write_str(values.device_id),
                Part::Seq => write!(out, "{}", values.seq),
                Part::Uuid => out.write_str(&random.uuid()),
                Part::Now => write!(out, "{}", values.now_ms),
                Part::Temperature => write!(out, "{:.2}", values.temperature),
                Part::Whole { min, max } => write!(out, "{}", random.whole(*min, *max)),
                Part::Decimal { min, max, digits } => write!(out, "{:.digits$}", random.between(*min, *max)),
            };
            written.expect("a string takes everything");
        }
        out
    }
}

fn placeholder(inner: &str, column: usize) -> Result<Part, TemplateError> {
    let mut words = inner.split_whitespace();
    let name = words.next().unwrap_or_default();
    let arguments: Vec<&str> = words.collect();
    match (name, arguments.as_slice()) {
        ("device_id", []) => Ok(Part::DeviceId),
        ("seq", []) => Ok(Part::Seq),
        ("uuid", []) => Ok(Part::Uuid),
        ("now", []) => Ok(Part::Now),
        ("temperature", []) => Ok(Part::Temperature),
        ("rand", arguments) => rand(arguments).ok_or(TemplateError::Rand(column)),
        _ => Err(TemplateError::Unknown { name: inner.to_owned(), column }),
    }
}

/// Whole numbers when both bounds are; else as many decimals as the bound with more of them has.
fn rand(arguments: &[&str]) -> Option<Part> {
    /// More say nothing: a double has no more.
    const MOST_DIGITS: usize = 17;
    let [min, max] = *arguments else { return None };
    let decimals = |number: &str| number.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let digits = decimals(min).max(decimals(max)).min(MOST_DIGITS);
    if digits == 0 {
        let (min, max) = (min.parse().ok()?, max.parse().ok()?);
        return (min <= max).then_some(Part::Whole { min, max });
    }
    let (min, max): (f64, f64) = (min.parse().ok()?, max.parse().ok()?);
    (min.is_finite() && max.is_finite() && min <= max).then_some(Part::Decimal { min, max, digits })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(text: &str) -> String {
        let values = Values { device_id: "d7", seq: 3, temperature: 81.256, now_ms: 1234 };
        Template::parse(text).unwrap().render(&values, &mut Random::new(5, 5))
    }

    #[test]
    fn placeholders_are_filled_in() {
        let check = |text: &str, expect: &str| assert_eq!(render(text), expect, "{text}");
        check(r#"{"id":"{{device_id}}","n":{{seq}}}"#, r#"{"id":"d7","n":3}"#);
        check(r#"{"a":{"t":{{ temperature }}}}"#, r#"{"a":{"t":81.26}}"#);
        check("{{now}}", "1234");
        check("[{{rand 4 4}}, {{rand 1.50 1.5}}]", "[4, 1.50]");
        check("null", "null");
        check(r#"{"é":[{{seq}},{{seq}}]}"#, r#"{"é":[3,3]}"#);
    }

    #[test]
    fn random_placeholders_stay_within_their_bounds() {
        let template = Template::parse("[{{rand -3 3}},{{rand -1 1.25}}]").unwrap();
        let values = Values { device_id: "d", seq: 1, temperature: 0.0, now_ms: 0 };
        let mut random = Random::new(9, 9);
        for _ in 0..500 {
            let rendered = template.render(&values, &mut random);
            let (whole, decimal): (i64, f64) = serde_json::from_str(&rendered).unwrap();
            assert!((-3..=3).contains(&whole) && (-1.0..=1.25).contains(&decimal), "{rendered}");
        }
        assert_ne!(render(r#""{{uuid}}""#), render(r#"["{{uuid}}"]"#));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let check = |text: &str, expect: &str| {
            assert_eq!(Template::parse(text).unwrap_err().to_string(), expect, "{text}");
        };
        let names = "there are device_id, seq, uuid, now, temperature and `rand MIN MAX`";
        check(r#"{"é":{{seq}"#, "the `{{` at column 6 has no `}}`");
        check("{{sequence}}", &format!("`{{{{sequence}}}}` at column 1 is no placeholder; {names}"));
        check("[1, {{seq 2}}]", &format!("`{{{{seq 2}}}}` at column 5 is no placeholder; {names}"));
        check("{{}}", &format!("`{{{{}}}}` at column 1 is no placeholder; {names}"));
        for rand in ["{{rand}}", "{{rand 1}}", "{{rand 2 1}}", "{{rand a b}}", "{{rand 1 2 3}}", "{{rand 2.5 1}}"] {
            check(rand, "`{{rand}}` at column 1 needs two numbers, the smaller first, as in `{{rand 1 6}}`");
        }
        check("", "the payload is not JSON (EOF while parsing a value at line 1 column 0); it renders to: ");
        check(
            r#"{"id":{{device_id}}}"#,
            "the payload is not JSON (expected value at line 1 column 7); it renders to: {\"id\":device-1}",
        );
    }
}
