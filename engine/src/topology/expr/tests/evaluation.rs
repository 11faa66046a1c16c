//! What expressions give on messages.

use super::super::{Fields, Inputs, MAX_CHAIN, MAX_STRING, Path, Program, Type, Value, Want};
use super::{compile, outcome};

/// Checks each expression on one payload.
fn check(payload: &str, table: &[(&str, &str)]) {
    for (text, expected) in table {
        assert_eq!(outcome(text, payload), *expected, "{text} on {payload}");
    }
}

const ND: &str = "no data";

#[test]
fn numbers_compare_as_numbers() {
    check(
        r#"{"i": 80, "d": 80.5, "n": -3, "big": 9007199254740993, "huge": 18446744073709551615, "e": 8e1}"#,
        &[
            ("payload.i > 79.9", "true"),
            ("payload.i > 80.0", "false"),
            ("payload.i >= 80", "true"),
            ("payload.i == 80.0", "true"),
            ("payload.i == payload.e", "true"),
            ("80.0 == payload.i", "true"),
            ("81 > payload.i", "true"),
            ("80 < payload.d", "true"),
            ("payload.d != 80", "true"),
            ("payload.n <= -3", "true"),
            ("payload.n == 3u - 6", "true"),
            ("payload.big == 9007199254740992.0", "false"),
            ("payload.big > 9007199254740992.0", "true"),
            ("payload.big == 9007199254740993", "true"),
            ("9007199254740992 < payload.big", "true"),
            ("9007199254740993 >= payload.big", "true"),
            ("9007199254740994 < payload.big", "false"),
            ("payload.huge > 9223372036854775807", "true"),
            ("payload.huge > payload.big", "true"),
            ("payload.i < payload.huge", "true"),
            ("1 == 1.0", "true"),
        ],
    );
}

#[test]
fn arithmetic_does_not_depend_on_how_a_device_writes_a_number() {
    check(
        r#"{"i": 81, "d": 81.0, "half": 0.5, "max": 9223372036854775807, "min": -9223372036854775808, "far": 1e308, "zero": 0}"#,
        &[
            ("payload.i / 2", "40.5"),
            ("payload.d / 2", "40.5"),
            ("int(payload.i) / 2", "40"),
            ("-7 / 2", "-3"),
            ("timestamp / 60 * 60", "1699999980"),
            ("payload.i % 2", "1"),
            ("payload.d % 2", "1"),
            ("payload.half % 2", ND),
            ("-7 % 3", "-1"),
            ("payload.i + 1", "82"),
            ("payload.i + 1.5", "82.5"),
            ("payload.i - payload.half", "80.5"),
            ("payload.i * 2", "162"),
            ("-payload.i", "-81"),
            ("-payload.half", "-0.5"),
            ("payload.max + 1", ND),
            ("payload.min - 1", ND),
            ("payload.max * 2", ND),
            ("-payload.min", ND),
            ("int(payload.min) / -1", ND),
            ("payload.min % -1", ND),
            ("payload.far * 10", ND),
            ("payload.i / 0", ND),
            ("payload.i / payload.zero", ND),
            ("int(payload.i) / int(payload.zero)", ND),
            ("payload.i % payload.zero", ND),
            ("2 + 3 * 4", "14"),
        ],
    );
}

#[test]
fn a_missing_field_is_no_data() {
    check(
        r#"{"a": {"b": 1}, "nil": null, "list": [1]}"#,
        &[
            ("payload.x", ND),
            ("payload.x > 1", ND),
            ("payload.x == payload.y", ND),
            ("payload.x == null", ND),
            ("payload.x in [1, 2]", ND),
            ("payload.x in []", ND),
            ("!payload.x", ND),
            ("-payload.x", ND),
            ("payload.x + 1", ND),
            ("payload.x ? 1 : 2", ND),
            ("size(payload.x)", ND),
            ("string(payload.x)", ND),
            ("payload.x.startsWith('a')", ND),
            ("payload.a.b.c > 1", ND),
            ("payload.a[0] > 1", ND),
            ("payload.list.b > 1", ND),
            ("payload.list[1] > 1", ND),
            ("payload.list[0] > 0", "true"),
            ("payload.nil.x > 1", ND),
        ],
    );
}

#[test]
fn a_value_of_the_wrong_type_is_no_data() {
    check(
        r#"{"s": "80", "n": 80, "b": true, "nil": null, "list": [1, 2, 3], "map": {"k": 1}}"#,
        &[
            ("payload.s > 79", ND),
            ("payload.s == 80", ND),
            ("payload.n == '80'", ND),
            ("payload.n != '80'", ND),
            ("payload.b == 1", ND),
            ("payload.b > 0", ND),
            ("payload.nil > 1", ND),
            ("payload.nil == 1", ND),
            ("payload.list == payload.list", ND),
            ("payload.map == payload.map", ND),
            ("payload.n && true", ND),
            ("!payload.n", ND),
            ("payload.n ? 1 : 2", ND),
            ("payload.s + 1", ND),
            ("payload.s - 1", ND),
            ("payload.n + payload.s", ND),
            ("-payload.s", ND),
            ("size(payload.n)", ND),
            ("payload.n.contains('8')", ND),
            ("payload.n in ['80']", ND),
            ("string(payload.list)", ND),
            ("double(payload.b)", ND),
            ("int(payload.map)", ND),
        ],
    );
}

#[test]
fn and_and_or_do_without_a_side_that_does_not_matter() {
    let truths = [("true", "payload.t"), ("false", "payload.f"), (ND, "payload.x")];
    for (left_value, left) in truths {
        for (right_value, right) in truths {
            let has = |wanted: &str| left_value == wanted || right_value == wanted;
            let and = if has("false") {
                "false"
            } else if has(ND) {
                ND
            } else {
                "true"
            };
            let or = if has("true") {
                "true"
            } else if has(ND) {
                ND
            } else {
                "false"
            };
            check(
                r#"{"t": true, "f": false}"#,
                &[
                    (&format!("{left} && {right}"), and),
                    (&format!("{left} || {right}"), or),
                    (&format!("{left} && {right} && true"), and),
                    (&format!("false || {left} || {right}"), or),
                    (&format!("!({left} && {right}) == (!{left} || !{right})"), if and == ND { ND } else { "true" }),
                ],
            );
        }
    }
}

#[test]
fn has_tests_for_presence() {
    check(
        r#"{"a": {"b": 0}, "nil": null, "odd name": 1, "list": [1, null]}"#,
        &[
            ("has(payload.a)", "true"),
            ("has(payload.a.b)", "true"),
            ("has(payload.a.c)", "false"),
            ("has(payload.x.y.z)", "false"),
            ("has(payload.nil)", "true"),
            ("has(payload[\"odd name\"])", "true"),
            ("has(payload.list[1])", "true"),
            ("has(payload.list[2])", "false"),
            ("has(payload.x) && payload.x > 1", "false"),
            ("!has(payload.x) || payload.x > 1", "true"),
            ("has(payload.x) ? payload.x : 7", "7"),
        ],
    );
}

#[test]
fn null_is_compared_by_name() {
    check(
        r#"{"nil": null, "n": 1, "s": "", "list": []}"#,
        &[
            ("payload.nil == null", "true"),
            ("payload.nil != null", "false"),
            ("null == payload.n", "false"),
            ("payload.s != null", "true"),
            ("payload.list == null", "false"),
            ("payload.nil == payload.nil", "true"),
            ("payload.nil in [1, null]", "true"),
            ("payload.n in [null, 1]", "true"),
            ("payload.n in [null]", "false"),
            ("payload.nil in [1]", ND),
        ],
    );
}

#[test]
fn strings() {
    check(
        r#"{"name": "Gerät-7", "esc": "a\"b\nc\u00e9", "empty": "", "list": [1, 2, 3], "map": {"a": 1, "b": [1]}}"#,
        &[
            ("payload.name == 'Gerät-7'", "true"),
            ("payload.name.startsWith('Ger')", "true"),
            ("payload.name.endsWith('-7')", "true"),
            ("payload.name.contains('ät')", "true"),
            ("payload.name.contains(payload.empty)", "true"),
            ("device_id.startsWith('e')", "false"),
            ("'d123'.startsWith(device_id)", "true"),
            ("payload.esc == 'a\"b\\ncé'", "true"),
            ("size(payload.name)", "7"),
            ("payload.name.size()", "7"),
            ("size(payload.list)", "3"),
            ("size(payload.map)", "2"),
            ("size(payload)", "5"),
            ("size('äö')", "2"),
            ("payload.name + '!' + device_id", "\"Gerät-7!d1\""),
            ("payload.name + payload.empty", "\"Gerät-7\""),
            ("'a' + 'b' == 'ab'", "true"),
            ("payload.name > 'A'", "true"),
            ("'a' < 'b'", "true"),
            ("'A' < payload.name", "true"),
            ("'A' >= payload.name", "false"),
            ("payload.name < 'A'", "false"),
            ("'z' > payload.name", "true"),
            ("kind == 'data'", "true"),
            ("kind in ['hello', 'data']", "true"),
            ("device_id in ['d2']", "false"),
        ],
    );
}

#[test]
fn conversions() {
    check(
        r#"{"s": "21.5", "i": "42", "word": "hot", "inf": "inf", "d": 2.9, "n": -2.9, "far": 1e19, "b": true, "big": 12345678901234567}"#,
        &[
            ("double(payload.s)", "21.5"),
            ("double(payload.i) > 41", "true"),
            ("double(payload.word)", ND),
            ("double(payload.inf)", ND),
            ("int(payload.i)", "42"),
            ("int(payload.s)", ND),
            ("int(payload.d)", "2"),
            ("int(payload.n)", "-2"),
            ("int(payload.far)", ND),
            ("double(7)", "7.0"),
            ("string(payload.d)", "\"2.9\""),
            ("string(80.0)", "\"80\""),
            ("string(payload.far)", "\"1e19\""),
            ("string(0.000001)", "\"1e-6\""),
            ("string(payload.b)", "\"true\""),
            ("string(payload.word)", "\"hot\""),
            ("string(payload.big)", "\"12345678901234567\""),
            ("payload.word + string(payload.d)", "\"hot2.9\""),
        ],
    );
}

#[test]
fn choices_look_at_one_branch() {
    check(
        r#"{"t": true, "f": false, "n": 5}"#,
        &[
            ("payload.t ? payload.n : payload.x", "5"),
            ("payload.f ? payload.x : payload.n", "5"),
            ("payload.f ? payload.n : payload.x", ND),
            ("payload.n > 3 ? 'high' : 'low'", "\"high\""),
            ("payload.t ? payload.n > 3 : false", "true"),
            ("payload.n > 9 ? 1 : payload.n > 3 ? 2 : 3", "2"),
            ("payload.n in [payload.x, 5]", ND),
            ("payload.n in [5, payload.x]", ND),
            ("payload.n in [payload.t, 5]", "true"),
            ("payload.n in [5, payload.t]", "true"),
            ("payload.n in [payload.t, 6]", ND),
            ("payload.n in [payload.x, 6]", ND),
        ],
    );
}

#[test]
fn a_payload_need_not_be_an_object() {
    check("81.5", &[("payload > 80", "true"), ("payload.x > 1", ND)]);
    check("null", &[("payload == null", "true"), ("has(payload.x)", "false")]);
    check("[3, [4, 5]]", &[("payload[1][0] == 4", "true"), ("size(payload)", "2")]);
}

#[test]
fn a_joined_string_has_a_limit() {
    let payload = format!(r#"{{"s": "{}"}}"#, "x".repeat(MAX_STRING / 2));
    check(&payload, &[("size(payload.s + payload.s)", &MAX_STRING.to_string()), ("payload.s + payload.s + 'x'", ND)]);
}

#[test]
fn the_deepest_expressions_evaluate() {
    let sum = format!("payload.a{}", " + payload.a".repeat(MAX_CHAIN - 1));
    let any = format!("payload.b{}", " || payload.b".repeat(MAX_CHAIN - 1));
    let nested = format!("{}payload.b{}", "!(".repeat(31), ")".repeat(31));
    let choice = format!("{}payload.a", "payload.b ? 0 : ".repeat(63));
    check(
        r#"{"a": 1, "b": false}"#,
        &[(&sum, &MAX_CHAIN.to_string()), (&any, "false"), (&nested, "true"), (&choice, "1")],
    );
}

#[test]
fn the_value_of_a_rule_is_what_it_compares() {
    for (text, expected) in [
        ("payload.temperature > 80.0", Some("payload.temperature")),
        ("has(payload.x) && payload.armed && payload.t > 80", Some("payload.t")),
        ("80 < payload.a.b[0] || payload.c > 1", Some("payload.a.b[0]")),
        ("payload.mode in ['a']", Some("payload.mode")),
        ("payload.name.startsWith('a')", Some("payload.name")),
        ("(payload.f * 9 / 5 + 32) > payload.limit", Some("payload.f")),
        ("payload.alarm", Some("payload.alarm")),
        ("device_id == 'a' && payload.alarm", Some("payload.alarm")),
        ("has(payload.x)", None),
        ("device_id == 'd1'", None),
    ] {
        let (program, fields) = compile(text);
        let path = program.primary_path().map(ToString::to_string);
        assert_eq!(path.as_deref(), expected, "{text}");
        let plan = fields.freeze();
        let slot = program.primary_slot().map(|slot| plan.paths()[slot.index()].to_string());
        assert_eq!(slot.as_deref(), expected, "{text}");
    }
}

#[test]
fn a_condition_is_a_bool_whatever_the_message_holds() {
    for text in ["payload.x > 1", "payload.alarm == true", "payload.a && payload.b", "payload.a ? payload.b > 1 : true"]
    {
        let program = Program::compile(text, Want::Bool, &mut Fields::new()).expect("a condition");
        assert_eq!(program.result_type(), Type::Bool, "{text}");
    }
    let (any, _) = compile("timestamp");
    let inputs = Inputs { device_id: "", kind: "", timestamp: 1, slots: &[] };
    assert_eq!(any.eval_bool(&inputs), None);
}

#[test]
fn slots_of_another_plan_are_no_data() {
    let (program, _) = compile("payload.a > 1 || has(payload.b)");
    let inputs = Inputs { device_id: "", kind: "", timestamp: 0, slots: &[] };
    assert_eq!(program.eval_bool(&inputs), None);
}

#[test]
fn values_outlive_their_message() {
    let kept = {
        let text = String::from("hot");
        Value::Str(text.as_str().into()).into_owned()
    };
    assert_eq!(kept.to_string(), "hot");
}

#[test]
fn paths_print_as_they_are_written() {
    for text in [
        "payload",
        "payload.a.b",
        "payload.list[0].x",
        "payload[\"odd name\"]",
        "payload[\"in\"]",
        "payload[\"7\"].x",
        "payload[\"\\n\\u0001\\\"\"]",
    ] {
        let path = Path::parse(text).expect("a path");
        assert_eq!(path.to_string(), text);
    }
    assert_eq!(Path::parse("payload['a']"), Path::parse("payload.a"));
    assert!(Path::parse("device_id").is_err());
    assert!(Path::parse("payload.a + 1").is_err());
    assert!(Path::parse("payload.").is_err());
}
