//! One pass over the message for all fields.

use super::super::{FieldPlan, Fields, Path, SlotId, Value};

fn plan(paths: &[&str]) -> (FieldPlan, Vec<SlotId>) {
    let mut fields = Fields::new();
    let slots = paths
        .iter()
        .map(|path| fields.add(&Path::parse(path).expect("a path")))
        .collect();
    (fields.freeze(), slots)
}

/// Checks what `payload` holds at each path, as text.
fn check(payload: &str, table: &[(&str, Option<&str>)]) {
    let paths: Vec<&str> = table.iter().map(|(path, _)| *path).collect();
    let (plan, ids) = plan(&paths);
    let mut slots = plan.slots();
    plan.extract(payload.as_bytes(), &mut slots).expect("JSON");
    for ((path, expected), id) in table.iter().zip(ids) {
        let found = slots.get(id).map(|value| format!("{value:?}"));
        assert_eq!(found.as_deref(), *expected, "{path} in {payload}");
    }
}

#[test]
fn every_kind_of_value_has_its_slot() {
    check(
        r#"{"i": 1, "neg": -1, "d": 1.5, "u": 18446744073709551615, "t": true, "n": null, "s": "x", "e": "\u0041", "l": [1, 2], "m": {"k": 1}}"#,
        &[
            ("payload.i", Some("Int(1)")),
            ("payload.neg", Some("Int(-1)")),
            ("payload.d", Some("Double(1.5)")),
            ("payload.u", Some("Double(1.8446744073709552e19)")),
            ("payload.t", Some("Bool(true)")),
            ("payload.n", Some("Null")),
            ("payload.s", Some("Str(\"x\")")),
            ("payload.e", Some("Str(\"A\")")),
            ("payload.l", Some("List(2)")),
            ("payload.m", Some("Map(1)")),
            ("payload", Some("Map(10)")),
            ("payload.absent", None),
        ],
    );
}

#[test]
fn a_field_and_what_is_inside_it_are_read_together() {
    check(
        r#"{"a": {"b": {"c": 1}, "x": 2}, "l": [[0, 1], {"k": 2}, 3]}"#,
        &[
            ("payload.a", Some("Map(2)")),
            ("payload.a.b", Some("Map(1)")),
            ("payload.a.b.c", Some("Int(1)")),
            ("payload.l[2]", Some("Int(3)")),
            ("payload.l[0][1]", Some("Int(1)")),
            ("payload.l", Some("List(3)")),
            ("payload.l[1].k", Some("Int(2)")),
            ("payload.l[3]", None),
            ("payload.a[0]", None),
            ("payload.l.k", None),
        ],
    );
}

#[test]
fn the_last_of_two_equal_keys_counts() {
    check(
        r#"{"a": {"x": 1, "y": 2}, "b": 1, "a": {"y": 3}, "b": 2}"#,
        &[
            ("payload.a.x", None),
            ("payload.a.y", Some("Int(3)")),
            ("payload.b", Some("Int(2)")),
        ],
    );
    check(
        r#"{"a": {"x": 1}, "a": 5}"#,
        &[("payload.a.x", None), ("payload.a", Some("Int(5)"))],
    );
}

#[test]
fn plain_texts_are_borrowed() {
    let (plan, ids) = plan(&["payload.plain", "payload.escaped"]);
    let mut slots = plan.slots();
    plan.extract(br#"{"plain": "abc", "escaped": "a\tb"}"#, &mut slots)
        .expect("JSON");
    use std::borrow::Cow::{Borrowed, Owned};
    assert!(matches!(
        slots.get(ids[0]),
        Some(Value::Str(Borrowed("abc")))
    ));
    assert!(matches!(slots.get(ids[1]), Some(Value::Str(Owned(text))) if text == "a\tb"));
}

#[test]
fn keys_match_with_and_without_escapes() {
    check(
        r#"{"\u0061\u00e9": 1, "b\"c": 2}"#,
        &[
            ("payload[\"aé\"]", Some("Int(1)")),
            ("payload['b\"c']", Some("Int(2)")),
        ],
    );
}

#[test]
fn an_unreadable_message_leaves_no_data() {
    let (plan, ids) = plan(&["payload.a"]);
    let mut slots = plan.slots();
    for broken in [
        &br#"{"a": 1"#[..],
        b"",
        b"{\"a\": 1} 2",
        b"{\"a\": 1, \"b\": }",
        b"{\"a\": 1e999}",
        b"{\"a\": \"\xff\"}",
        b"not json",
    ] {
        plan.extract(br#"{"a": 7}"#, &mut slots).expect("JSON");
        assert!(slots.get(ids[0]).is_some());
        plan.extract(broken, &mut slots).expect_err("not readable");
        assert_eq!(slots.get(ids[0]), None);
    }
}

#[test]
fn what_is_not_named_is_skipped_however_deep() {
    let deep = format!(
        "{{\"x\": {}{}, \"a\": 1}}",
        "[".repeat(5000),
        "]".repeat(5000)
    );
    check(&deep, &[("payload.a", Some("Int(1)"))]);
}

#[test]
fn a_plan_of_no_fields_reads_nothing() {
    let plan = Fields::new().freeze();
    let mut slots = plan.slots();
    plan.extract(b"not json", &mut slots)
        .expect("not looked at");
    assert!(slots.as_slice().is_empty());
}

#[test]
fn a_path_named_twice_has_one_slot() {
    let (plan, ids) = plan(&["payload.a.b", "payload[\"a\"].b", "payload.a"]);
    assert_eq!(ids[0], ids[1]);
    assert_eq!(plan.len(), 2);
}
