//! Annotations.

use std::collections::BTreeMap;

use super::super::{
    ExprError, Fields, Inputs, MAX_RENDERED, MAX_TEXT, Path, Template, TemplateScope, codes,
};
use super::{DEVICE, KIND, TIMESTAMP};

const PAYLOAD: &str = r#"{"temperature": 81.5, "unit": "°C", "list": [1, 2], "nil": null}"#;

fn compile(text: &str, fields: &mut Fields) -> Result<Template, Vec<ExprError>> {
    let value = Path::parse("payload.temperature").expect("a path");
    let labels = BTreeMap::from([
        ("severity".to_owned(), "critical".to_owned()),
        ("team-name".to_owned(), "ops".to_owned()),
    ]);
    let scope = TemplateScope {
        alertname: "DeviceOverheating",
        labels: &labels,
        value: Some(&value),
    };
    Template::compile(text, &scope, fields)
}

fn render(text: &str, payload: &str) -> String {
    let mut fields = Fields::new();
    let template = compile(text, &mut fields).unwrap_or_else(|errors| panic!("{text}: {errors:?}"));
    let plan = fields.freeze();
    let mut slots = plan.slots();
    plan.extract(payload.as_bytes(), &mut slots).expect("JSON");
    template.render(&Inputs {
        device_id: DEVICE,
        kind: KIND,
        timestamp: TIMESTAMP,
        slots: slots.as_slice(),
    })
}

#[test]
fn expressions_are_filled_in() {
    for (text, expected) in [
        ("", ""),
        ("plain } text { here }}", "plain } text { here }}"),
        ("{{ device_id }} at {{ value }} °C", "d1 at 81.5 °C"),
        ("{{value}}{{payload.unit}}", "81.5°C"),
        (
            "{{ alertname }}: {{ labels.severity }}/{{ labels[\"team-name\"] }}",
            "DeviceOverheating: critical/ops",
        ),
        ("{{ payload.temperature * 2 }}", "163"),
        (
            "{{ payload.missing }} and {{ value }}",
            "(no data) and 81.5",
        ),
        ("{{ payload.nil }}", "null"),
        ("{{ payload.list }}", "(list of 2)"),
        ("{{ value > 80 ? \"hot\" : \"fine\" }}", "hot"),
        ("{{ \"}}\" }} {{ '{{' }}", "}} {{"),
        ("{{ kind }} {{ timestamp }}", "data 1700000000"),
        ("{{ 1 + 2 }}", "3"),
    ] {
        assert_eq!(render(text, PAYLOAD), expected, "{text}");
    }
}

#[test]
fn errors_have_their_place_in_the_template() {
    for (text, code, place) in [
        ("{{ devce_id }}", codes::UNKNOWN_FIELD, "devce_id"),
        (
            "°C {{ labels.severty }}",
            codes::UNKNOWN_FIELD,
            "labels.severty",
        ),
        ("{{ labels }}", codes::UNSUPPORTED, "labels"),
        ("a {{ value", codes::SYNTAX, "{{"),
        ("{{ $value }}", codes::SYNTAX, "$"),
        ("{{ avg(payload.x, 5m) }}", codes::UNKNOWN_FUNCTION, "avg"),
        ("{{ value + }}", codes::SYNTAX, ""),
        ("{{}}", codes::SYNTAX, ""),
    ] {
        let mut fields = Fields::new();
        let errors = compile(text, &mut fields).expect_err(text);
        assert_eq!(errors.len(), 1, "{text}");
        assert_eq!(
            (errors[0].code, &text[errors[0].span.clone()]),
            (code, place),
            "{text}"
        );
        assert!(errors[0].hint.is_some(), "{text}");
        assert!(fields.is_empty(), "{text}");
    }
}

#[test]
fn all_parts_are_checked() {
    let errors =
        compile("{{ a }} {{ value }} {{ b }} {{ c", &mut Fields::new()).expect_err("three errors");
    assert_eq!(errors.len(), 3);
}

#[test]
fn a_rule_without_a_field_has_no_value() {
    let scope = TemplateScope {
        alertname: "DeviceSilent",
        labels: &BTreeMap::new(),
        value: None,
    };
    let errors = Template::compile("{{ device_id }} {{ value }}", &scope, &mut Fields::new())
        .expect_err("no value");
    assert_eq!(errors[0].code, codes::UNKNOWN_FIELD);
    Template::compile("{{ device_id }} is silent", &scope, &mut Fields::new())
        .expect("no value needed");
}

#[test]
fn texts_are_bounded() {
    let long = "x".repeat(MAX_TEXT + 1);
    assert_eq!(
        compile(&long, &mut Fields::new()).expect_err("too long")[0].code,
        codes::TOO_LONG
    );

    let payload = format!(r#"{{"unit": "{}"}}"#, "ä".repeat(MAX_RENDERED));
    let text = render("{{ payload.unit }}{{ payload.unit }}", &payload);
    assert!(text.len() <= MAX_RENDERED && text.len() > MAX_RENDERED - 8);
    assert!(text.ends_with("ä…"));
}
