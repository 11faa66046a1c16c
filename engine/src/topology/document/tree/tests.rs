use proptest::prelude::*;

use super::super::fixtures::{KafkaSource, Topology, brief, document, environment};
use super::*;
use crate::context::FieldProblem;
use crate::topology::document::{Problem, Style, Value};

/// What is wrong with reading a text, and whether there is a document all the same.
fn reading(text: &str) -> (String, bool) {
    let mut problems = Problems::new();
    let source = Source::new("t.yaml", text);
    let document = Document::parse(&source, &environment, &mut problems);
    (brief(&Diagnostics::new(source, problems)), document.is_some())
}

#[track_caller]
fn check(text: &str, goes_on: bool, expected: &str) {
    assert_eq!(reading(text), (expected.to_owned(), goes_on), "{text:?}");
}

#[test]
fn the_tree_is_what_was_written() {
    let (document, problems) = document(
        "a: [1, -2.50, true, ~, '5', \"x\\n\"]\nb: &all { c: yes, \"d e\": {} }\nf: *all\ng: |\n  one\n  two\nh:\n- i: 1\n  j: 2\n",
    );
    assert!(problems.is_empty());
    assert_eq!(
        format!("{:?}", document.root()),
        r#"{"a": [1, -2.50, true, null, "5", "x\n"], "b": {"c": "yes", "d e": {}}, "f": {"c": "yes", "d e": {}}, "g": "one\ntwo\n", "h": [{"i": 1, "j": 2}]}"#
    );
    let copy = document.root().find(&"f.c".into()).expect("the alias is followed");
    assert_eq!((copy.path().to_string().as_str(), document.source().slice(copy.span())), ("f.c", "yes"));
    assert!(document.root().get("a").is_some_and(|a| a.items()[4].is_quoted() && !a.items()[0].is_quoted()));
}

#[test]
fn json_is_a_document_too() {
    let json = "{\n\t\"name\": \"x\",\n\t\"n\": [1, 2.5, null, true, \"\\u00e9\"]\n}\n";
    let (document, _) = document(json);
    assert_eq!(format!("{:?}", document.root()), r#"{"name": "x", "n": [1, 2.5, null, true, "é"]}"#);
    let long = format!("{{\"a\": [{}], \"b\": \"x\"}}", vec!["{\"k\": \"v\"}"; 5_000].join(","));
    let (document, _) = super::super::fixtures::document(&long);
    assert_eq!(document.root().get("a").map(|a| a.items().len()), Some(5_000));
}

#[test]
fn nothing_at_all_is_a_document_that_is_null() {
    for text in ["", "# only a comment\n", "---\n", "~"] {
        assert!(document(text).0.root().is_null(), "{text:?}");
    }
}

#[test]
fn broken_syntax_is_located_and_ends_reading() {
    check(
        "a:\n\tb: 1\n",
        false,
        "2:2 syntax : tabs disallowed within this context (block indentation) (YAML is indented with spaces: replace the tab)\n",
    );
    check(
        "a: { url: ${X} }\n",
        false,
        "1:12 syntax : while parsing a flow mapping, did not find expected ',' or '}' (inside `{ }` and `[ ]`, quote values that contain `${…}`: \"${NAME}\")\n",
    );
    check(
        "a: b: c\n",
        false,
        "1:5 syntax : mapping values are not allowed in this context (if the `:` belongs to a value, quote that value; else check the indentation)\n",
    );
    check("a: \"b\n", false, "1:4 syntax : unclosed quote (close the quote that starts here)\n");
    check("a: @b\n", false, "1:4 syntax : unexpected character: `@' (quote the value that contains it)\n");
    check("é: [1, 2\n", false, "1:4 syntax : unclosed bracket '[' (close the bracket that starts here)\n");
}

#[test]
fn unused_yaml_is_reported_and_reading_goes_on() {
    check(
        "a: 1\nb: { c: 1, c: 2, c: [3] }\na: { d: 1, d: 2 }\n",
        true,
        "2:12 duplicate_key b.c: `c` is given twice (remove one of the two, or give it the name that was meant)\n\
         2:18 duplicate_key b.c: `c` is given twice (remove one of the two, or give it the name that was meant)\n\
         3:1 duplicate_key a: `a` is given twice (remove one of the two, or give it the name that was meant)\n\
         3:12 duplicate_key a.d: `d` is given twice (remove one of the two, or give it the name that was meant)\n",
    );
    check(
        "a: *none\n<<: { b: 1 }\n[c]: 1\nd: !!str 5\ne: &x [*x]\n*x : 1\n",
        true,
        "1:4 unsupported_yaml a: there is no anchor `&none` before this alias (if the `*` is meant literally, quote the value)\n\
         2:1 unsupported_yaml [\"<<\"]: merge keys (`<<`) are not used in topology files (write the fields out, or use an alias for a whole value)\n\
         3:1 unsupported_yaml : a key must be a scalar (quote the key if its brackets are meant literally)\n\
         4:4 unsupported_yaml d: tags are not used in topology files (remove the tag; to make a string of a number, quote it)\n\
         5:8 unsupported_yaml e[0]: an alias inside the value that it repeats (write the value out)\n\
         6:1 unsupported_yaml : a key must be a scalar (write the key out)\n",
    );
    check(
        "a: 1\n---\nb: {\n",
        true,
        "2:1 second_document : a second document starts here (a topology file is one document: put the second one into a file of its own)\n",
    );
}

#[test]
fn limits_end_reading() {
    const HINT: &str = "(split the file, or repeat less by aliases)";
    check(
        &("[".repeat(100) + &"]".repeat(100)),
        false,
        &format!("1:65 limit {}: nested more than 64 levels deep {HINT}\n", "[0]".repeat(64)),
    );
    assert!(reading(&format!("{}1{}", "[".repeat(64), "]".repeat(64))).1);
    let (text, _) = reading(&format!("a: [{}]", "x,".repeat(100_001)));
    assert!(text.contains("limit a[100000]: more values than a topology file may have"), "{text}");
    assert!(
        reading(&"#".repeat(5 << 20)).0.starts_with("1:1 limit : the file has 5242880 bytes, at most 4194304 are read")
    );
}

#[test]
fn aliases_that_repeat_aliases_end_reading() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    let (text, goes_on) = reading(&bomb);
    assert!(!goes_on && text.contains("limit a4[7]: aliases repeat more than a topology file may have"), "{text}");

    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), ["*a"; 5].join(", "));
    assert!(reading(&long).0.starts_with("2:21 limit b[4]: aliases repeat more"), "{}", reading(&long).0);

    let mut deep = "a: &a0 [x]\n".to_owned();
    (1..70).for_each(|level| deep.push_str(&format!("b{level}: &a{level} [*a{}]\n", level - 1)));
    assert!(
        reading(&deep).0.starts_with("64:12 limit b63[0]: nested more than 64 levels deep"),
        "{}",
        reading(&deep).0
    );
}

#[test]
fn the_environment_is_put_into_values_and_only_there() {
    let (document, problems) = document(
        "a: ${MQTT_URL}/x\nb: \"${NOT_SET:-5}\"\nc: '${EMPTY:-def}ault$${X} $5'\n${MQTT_URL}: [\"${EMPTY}\"]\nd: |\n  ${PERIOD}\n",
    );
    assert!(problems.is_empty(), "{problems:?}");
    let root = document.root();
    let text = |name: &str| root.get(name).and_then(Node::as_str).map(str::to_owned).expect("a string");
    assert_eq!(text("a"), "mqtt://admin:hunter2@broker:1883/x");
    assert_eq!(
        (text("b"), text("c"), text("d")),
        ("5".to_owned(), "default${X} $5".to_owned(), "sixty seconds\n".to_owned())
    );
    let from_env = |name: &str| root.get(name).is_some_and(Node::is_from_env);
    assert_eq!([from_env("a"), from_env("b"), from_env("c"), from_env("d")], [true, false, false, true]);
    assert_eq!(root.get("${MQTT_URL}").map(|list| list.items()[0].value()), Some(&Value::String(String::new())));
    assert!(!format!("{document:?}{root:?}").contains("hunter2"));
}

#[test]
fn each_variable_without_a_value_is_reported_where_it_stands() {
    check(
        "a: \"x ${NONE} ${OTHER}\"\nb: [\"${1}\"]\nc: ${NONE\n",
        true,
        "1:7 unset_variable a: the environment variable `NONE` is not set (set it, or give a default: `${NONE:-default}`)\n\
         1:15 unset_variable a: the environment variable `OTHER` is not set (set it, or give a default: `${OTHER:-default}`)\n\
         2:6 bad_substitution b[0]: this is not the name of a variable (write `${NAME}` or `${NAME:-default}`; for a literal `${` write `$${`)\n\
         3:4 bad_substitution c: `${` without a closing `}` (write `${NAME}` or `${NAME:-default}`; for a literal `${` write `$${`)\n",
    );
}

#[test]
fn what_the_environment_may_put_in_is_bounded() {
    let mut problems = Problems::new();
    let text = format!("a: [{}]", ["'${BIG}'"; 9].join(","));
    let env = |_: &str| Some("x".repeat(1 << 20));
    let document = Document::parse(&Source::new("t", text), &env, &mut problems).expect("it is read");
    let flawed = document.root().get("a").map(|a| a.items().iter().filter(|item| item.is_flawed()).count());
    assert_eq!((flawed, problems.len()), (Some(5), 5));
}

#[test]
fn paths_lead_to_places() {
    let text = "stages:\n  alerts:\n    rules:\n      - expr: payload.temp > 80\n        labels: { a: 'it''s x' }\n      - expr: >\n          folded\n          text\n        on: [1, 2]\n";
    let (document, _) = document(text);
    let at = |path: FieldPath| {
        let span = document.locate(&path);
        let position = document.source().position(span.start);
        format!("{}:{} {}", position.line, position.column, document.source().slice(span))
    };
    let expr = FieldPath::from("stages.alerts.rules[0].expr");
    assert_eq!(at(expr.clone()), "4:15 payload.temp > 80");
    assert_eq!(at(expr.clone().within(8..12)), "4:23 temp");
    assert_eq!(at(expr.clone().key()), "4:9 expr");
    assert_eq!(at(FieldPath::from("stages.alerts.rules[0].labels.a").within(5..6)), "5:29 x");
    assert_eq!(at("stages.alerts.rules[0].labels".into()), "5:17 { a: 'it''s x' }");
    // Of several lines: the key it belongs to, or its first line.
    assert_eq!(at("stages.alerts.rules".into()), "3:5 rules");
    assert_eq!(at("stages.alerts.rules[0]".into()), "4:9 expr: payload.temp > 80");
    assert_eq!(at(FieldPath::from("stages.alerts.rules[1].expr").within(0..3)), "6:9 expr");
    // What is not there: what is nearest.
    assert_eq!(at("stages.alerts.rules[1].on[7].x".into()), "9:13 [1, 2]");
    assert_eq!(at("stages.alertz.rules".into()), "1:1 stages");
    assert_eq!(at(expr.within(90..99)), "4:15 payload.temp > 80");
    assert_eq!(at(FieldPath::root()), "1:1 stages:");
}

#[test]
fn a_problem_relative_to_a_node_gets_its_path_and_place() {
    let (document, mut problems) = document("stages:\n  alerts:\n    rules: [{ expr: a > b }, { expr: \"x > y\" }]\n");
    let node = document.root().find(&"stages.alerts".into()).expect("it is there");
    let problem = Problem::new("x::bad", "`y` is unknown").at("rules[1].expr").within(4..5).hint("use x");
    problems.push(problem.related("as used here", "rules[0]", None).in_node(node));
    let diagnostics = document.diagnostics(problems);
    assert_eq!(brief(&diagnostics), "3:43 x::bad stages.alerts.rules[1].expr: `y` is unknown (use x)\n");
    assert!(diagnostics.render(Style::PLAIN).contains("as used here"));
}

#[test]
fn what_a_component_reports_becomes_a_problem() {
    let (document, _) = document("stages:\n  alerts: { rules: [{ expr: a > b }] }\n");
    let reported = FieldProblem {
        at: "rules[0].expr".to_owned(),
        range: Some(4..5),
        code: "x::bad",
        message: "`b` is unknown".to_owned(),
        hint: Some("use c".to_owned()),
    };
    let node = document.root().find(&"stages.alerts".into()).expect("it is there");
    let problems = [Problem::from(reported).in_node(node)].into_iter().collect();
    let expected = "2:33 x::bad stages.alerts.rules[0].expr: `b` is unknown (use c)\n";
    assert_eq!(brief(&document.diagnostics(problems)), expected);
}

#[test]
fn a_file_of_its_own_is_read_in_one_go() {
    let source = Source::new("t.yaml", "connection: log\ntopics: [a]\ngroup: \"${NOT_SET:-g}\"\n");
    let read_source: KafkaSource = read(&source, &environment).expect("it is right");
    assert_eq!((read_source.group.as_str(), read_source.topics[0].span), ("g", Span::new(25, 26)));
    let broken = read::<KafkaSource>(&Source::new("t.yaml", "a: [\n"), &environment).expect_err("it is not");
    assert_eq!(broken.iter().map(Problem::code).collect::<Vec<_>>(), ["topology::syntax"]);
    let wrong = read::<KafkaSource>(&Source::new("t.yaml", "a: 1\na: 2\n"), &environment).expect_err("it is not");
    assert_eq!(wrong.len(), 5);
}

/// Whatever the text, reading, decoding and drawing end without a panic, and no place lies outside.
fn survives(text: &str) {
    let source = Source::new("t", text);
    let mut problems = Problems::new();
    let document = Document::parse(&source, &environment, &mut problems);
    let diagnostics = match document {
        Some(document) => {
            let decoded: Option<Topology> = document.decode(&mut problems);
            assert!(decoded.is_some() || !problems.is_empty());
            document.diagnostics(problems)
        }
        None => {
            assert!(!problems.is_empty());
            Diagnostics::new(source, problems)
        }
    };
    for problem in diagnostics.iter() {
        assert!(
            problem.place().is_some_and(|span| span.end <= text.len() && text.is_char_boundary(span.start)),
            "{problem:?}"
        );
    }
    let drawn = diagnostics.render(Style::PLAIN);
    diagnostics.render(Style::TERMINAL);
    assert_eq!(diagnostics.to_json().as_array().map(Vec::len), Some(diagnostics.len()));
    for problem in diagnostics.iter() {
        let position = diagnostics.position(problem);
        assert!(drawn.contains(&format!("[t:{}:{}]", position.line, position.column)), "{problem:?} in {drawn}");
    }
}

const VALID: &str = "version: 1\nname: t\nconnections:\n  a: { mqtt: { url: \"${MQTT_URL}\", max_inflight: 5, password: { secret: { env: P } } } }\n  b:\n    kafka:\n      brokers: [h]\nrestart: { within: 60s }\n";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_text_is_too_strange(text in any::<String>()) {
        survives(&text);
    }

    #[test]
    fn no_yaml_is_too_strange(text in "([-?:,{}\\[\\]&*!|>'\"%@`# \n\t~$<a0é]|: |- |\\$\\{A\\}|&a |\\*a|---\n){0,60}") {
        survives(&text);
    }

    #[test]
    fn no_edit_of_a_topology_is_too_strange(at in 0..VALID.len(), cut in 0usize..20, put in "[-?:,{}\\[\\]&*!|>'\"%@`# \n\t~$a0é]{0,3}") {
        let mut text = VALID.to_owned();
        text.replace_range(at..(at + cut).min(VALID.len()), &put);
        survives(&text);
    }
}
