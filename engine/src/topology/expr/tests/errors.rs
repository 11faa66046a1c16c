//! Every kind of mistake with its place, message and hint; and that all of them are found at once.

use std::fmt::Write;

use super::super::{ExprError, Fields, Program, Want, codes};

fn errors(text: &str) -> Vec<ExprError> {
    let mut fields = Fields::new();
    let errors = Program::compile(text, Want::Bool, &mut fields).err().unwrap_or_default();
    assert!(errors.is_empty() || fields.is_empty(), "`{text}` left fields behind");
    errors
}

/// The errors of `text`, each with its place underlined.
fn rendered(text: &str) -> String {
    let mut out = format!("  {}\n", text.replace('\n', " "));
    let found = errors(text);
    assert!(!found.is_empty(), "`{text}` compiles");
    for error in found {
        let before = text[..error.span.start].chars().count();
        let marked = text[error.span.clone()].chars().count().max(1);
        let hint = error.hint.expect("every error says what to write");
        let _ = writeln!(
            out,
            "  {}{}\n{}: {}\n    hint: {hint}",
            " ".repeat(before),
            "^".repeat(marked),
            error.code,
            error.message,
        );
    }
    out
}

#[test]
fn mistakes_are_explained() {
    let mistakes = [
        "",
        "payload.temperature >",
        "payload.temperature = 80",
        "payload.temperature > 80 and payload.humidity > 5",
        "payload.a > 1 OR payload.b",
        "not payload.alarm",
        "payload.a <> 3",
        "payload.a & payload.b",
        "payload.level > 80%",
        "$value > 3",
        "payload.mode == “on”",
        "payload.mode == 'on",
        "payload.mode == 'on\n'",
        "payload.mode == 'a\\q'",
        "payload.mode == '\\ud800'",
        "payload.mode == b'on'",
        "payload.temp > 80C",
        "payload.temp > 1e999",
        "payload.temp > 9223372036854775808",
        "payload.temp > 18446744073709551615u",
        "payload.list.0 > 1",
        "payload.in > 1",
        "payload.\"odd name\" > 1",
        "payload.a > (1",
        "payload.a in [1, 2",
        "size(payload.a > 1",
        "payload.a ? payload.b",
        "payload.a > 1)",
        "payload {}",
        "size(payload.a,) > 1",
        "payload.`odd name` > 1",
        "payload.a > 0X1F",
        "payload.a in [,]",
        "payload.ä > 1",
        "temperature > 80",
        "Payload.temperature > 80",
        "paylod.temperature > 80 && deviceid == 'a'",
        "payload.odd-name > 1",
        "device_id.name == 'a'",
        "timestamp[0] > 1",
        "payload.list[payload.i] > 1",
        "payload.list[-1] > 1",
        "'a'.b == 1",
        "avg(payload.temperature, 5m) > 70.0",
        "sum_over_time(payload.x) > 1",
        "payload.name.startswith('a')",
        "payload.name.matches('a.*')",
        "startsWith(payload.name, 'a')",
        "payload.name.startsWith()",
        "payload.x.double() > 1.0",
        "size(payload.a, payload.b) > 1",
        "size(timestamp) > 1",
        "double(true) > 1.0",
        "string(null) == 'null'",
        "has(device_id)",
        "has(payload)",
        "has(payload.a, payload.b)",
        "has(payload.a > 1)",
        "has(pay.a)",
        "device_id > 3",
        "device_id == 3",
        "timestamp == 'now'",
        "1 < payload.x < 5",
        "true > false",
        "payload.x > null",
        "device_id == null",
        "payload.a + 1 && payload.b",
        "!payload.a > 1",
        "!device_id",
        "-device_id > 1",
        "device_id + 1 == 'd1'",
        "payload.a - 'x' > 1",
        "payload.a % 2.5 == 0",
        "payload.a in payload.b",
        "payload.a in [1, 'x', 2]",
        "device_id in [1]",
        "payload.a == [1, 2]",
        "payload.a ? 1 : 'x'",
        "timestamp ? true : false",
        "payload.x > 5m",
        "payload.temperature + 1",
        "1 + 2",
        "payload.temperature",
        "payload.a ? payload.b : true",
        "'on'",
        "null",
        "payload.x > 1 / 0",
        "payload.x > 9223372036854775807 + 1",
        "payload.x > double('hot')",
        "'a'.startsWith(string(1 % 0))",
    ];
    let all: Vec<String> = mistakes.iter().map(|text| rendered(text)).collect();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn all_problems_are_found_at_once() {
    let found = errors("temprature > 80 && avg(payload.x, 5m) > 1 || device_id > 3 || payload.x > 1 - 'a'");
    let codes: Vec<&str> = found.iter().map(|error| error.code).collect();
    assert_eq!(codes, [codes::UNKNOWN_FIELD, codes::UNKNOWN_FUNCTION, codes::TYPE_MISMATCH, codes::TYPE_MISMATCH]);
    assert!(found.is_sorted_by_key(|error| error.span.start));
}

#[test]
fn an_unknown_function_is_named_with_the_known_ones() {
    let text = "avg(payload.temperature, 5m) > 70.0";
    let [error] = errors(text).try_into().expect("one error");
    assert_eq!(error.message, "unknown function `avg`");
    assert_eq!(&text[error.span], "avg");
    let hint = error.hint.expect("a hint");
    for name in ["has", "size", "startsWith", "endsWith", "contains", "double", "int", "string"] {
        assert!(hint.contains(name), "{hint}");
    }
}

#[test]
fn a_failed_expression_leaves_the_fields_of_others_alone() {
    let mut fields = Fields::new();
    Program::compile("payload.a > 1", Want::Bool, &mut fields).expect("valid");
    for wrong in ["payload.b > 1 / 0", "payload.c +", "payload.d + 1"] {
        assert!(Program::compile(wrong, Want::Bool, &mut fields).is_err());
        assert_eq!(fields.len(), 1, "{wrong}");
    }
}

#[test]
fn paths_that_are_too_long_are_refused() {
    let text = format!("has(payload{})", ".a".repeat(65));
    assert_eq!(errors(&text)[0].code, codes::TOO_DEEP);
    assert_eq!(errors(&format!("has(payload{})", ".a".repeat(64))), []);
}

#[test]
fn every_code_is_explained_once() {
    let mut known: Vec<&str> = codes::EXPLANATIONS.iter().map(|(code, _)| *code).collect();
    known.sort_unstable();
    known.dedup();
    assert_eq!(known.len(), codes::EXPLANATIONS.len());
    assert!(known.iter().all(|code| code.starts_with("expr::")));
}
