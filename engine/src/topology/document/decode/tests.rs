use std::collections::BTreeMap;

use serde::Deserialize;

use crate::topology::document::fixtures::{
    Connection, KafkaSource, PacketIds, Restart, Rule, Topology, document, problems_of,
};
use crate::topology::document::*;

#[track_caller]
fn decoded<T: serde::de::DeserializeOwned>(text: &str) -> T {
    let (document, mut problems) = document(text);
    let value = document.decode(&mut problems);
    value.unwrap_or_else(|| panic!("{}", document.diagnostics(problems)))
}

#[test]
fn a_right_document_decodes() {
    let topology: Topology = decoded(
        "version: 1\nname: t\nconnections:\n  b: { mqtt: { url: 'mqtt://h', max_inflight: 10, keep_alive: 1m30s, password: { secret: { env: P } } } }\n  \
         l: { kafka: { brokers: [a, \"${NOT_SET:-b}\"] } }\n  m: memory\n  n: { memory: }\nstages:\n  s: { any: [1] }\nrestart: { jitter: true }\n",
    );
    assert_eq!(topology.connections.names().collect::<Vec<_>>(), ["b", "l", "m", "n"]);
    let Some(Connection::Mqtt(mqtt)) = topology.connections.get("b") else { panic!("{:?}", topology.connections) };
    assert_eq!((mqtt.packet_ids == PacketIds::Cyclic, mqtt.password.as_ref()), (true, Some(&Secret::env("P"))));
    assert_eq!(mqtt.keep_alive.map(|d| d.get().as_secs()), Some(90));
    assert!(matches!(topology.connections.get("l"), Some(Connection::Kafka { brokers }) if brokers == &["a", "b"]));
    assert!(topology.restart.jitter);
    // A node is kept as it is, with its path.
    assert_eq!(topology.stages.get("s").map(|node| node.path().to_string()).as_deref(), Some("stages.s"));
}

#[test]
fn located_values_and_keys_know_their_places() {
    let text = "version: 1\nname: 'a b'\nconnections: { x: memory }\n";
    let topology: Topology = decoded(text);
    let source = Source::new("t", text);
    assert_eq!(source.slice(topology.name.span), "'a b'");
    let name = topology.connections.iter().next().map(|entry| &entry.name).expect("one");
    assert_eq!(source.position(name.span.start), Position { line: 3, column: 16 });
    // Other formats have no places.
    let elsewhere: Located<u8> = serde_json::from_str("5").expect("it decodes");
    assert_eq!(elsewhere, Located { value: 5, span: Span::new(7, 9) });
    assert_eq!(serde_json::to_string(&elsewhere).expect("it encodes"), "5");
}

#[test]
fn all_missing_fields_are_found_whatever_their_types() {
    assert_eq!(
        problems_of::<KafkaSource>("{}"),
        "1:1 missing_field : missing field `connection` (add `connection: …` at the top level)\n\
         1:1 missing_field : missing field `topics` (add `topics: …` at the top level)\n\
         1:1 missing_field : missing field `group` (add `group: …` at the top level)\n",
    );

    #[derive(Deserialize)]
    #[allow(dead_code)]
    struct Strict {
        duration: HumanDuration,
        size: Located<ByteSize>,
        port: std::num::NonZeroU16,
        nested: Box<KafkaSource>,
        kind: Connection,
        node: Node,
        pair: (u8, String),
        map: BTreeMap<String, u8>,
        optional: Option<u8>,
        flag: bool,
    }
    let found = problems_of::<Vec<Strict>>("- {}\n");
    assert_eq!(found.lines().count(), 9, "{found}");
}

#[test]
fn one_mistake_is_one_problem() {
    // A faulty required field is not missing; a faulty value does not break what is around it.
    for (text, expected) in [
        (
            "connection: [x]\ntopics: [a]\ngroup: g\n",
            "1:13 wrong_type connection: expected a string, found a list (write a string)\n",
        ),
        (
            "connection: x\ntopics: [a, 1]\ngroup: g\n",
            "2:13 wrong_type topics[1]: expected a string, found the number 1 (quote it: `\"1\"`)\n",
        ),
        (
            "conection: x\ntopics: [a]\ngroup: g\n",
            "1:1 unknown_field conection: unknown field `conection` (did you mean `connection`?)\n",
        ),
        (
            "connection: \"${NONE}\"\ntopics: [a]\ngroup: g\n",
            "1:14 unset_variable connection: the environment variable `NONE` is not set (set it, or give a default: `${NONE:-default}`)\n",
        ),
        (
            "connection: x\ntopics: [a]\ngroup: g\nroutes: { a: 1.50, b: c }\n",
            "4:14 wrong_type routes.a: expected a string, found the number 1.50 (quote it: `\"1.50\"`)\n",
        ),
        (
            "topics\n",
            "1:1 wrong_type : expected a mapping, found the string `topics` (its fields are `connection`, `topics`, `group` and `routes`)\n",
        ),
    ] {
        assert_eq!(problems_of::<KafkaSource>(text), expected, "{text}");
    }
}

#[test]
fn a_check_of_the_whole_is_not_run_on_stand_ins() {
    #[derive(Debug, Deserialize)]
    #[serde(try_from = "Bounds")]
    #[allow(dead_code)]
    struct Checked(Bounds);

    #[derive(Debug, Deserialize)]
    struct Bounds {
        min: u8,
        max: u8,
    }

    impl TryFrom<Bounds> for Checked {
        type Error = String;
        fn try_from(bounds: Bounds) -> Result<Self, String> {
            if bounds.min < bounds.max { Ok(Checked(bounds)) } else { Err("min must be below max\nswap them".into()) }
        }
    }
    assert_eq!(problems_of::<Vec<Checked>>("[{ min: 1, max: 2 }]"), "");
    assert_eq!(
        problems_of::<Vec<Checked>>("[{ min: 2, max: 1 }]"),
        "1:2 invalid_value [0]: min must be below max (swap them)\n"
    );
    let faulty = problems_of::<Vec<Checked>>("[{ min: 5, max: x }, { min: 5 }, { min: 7, max: 6 }]");
    assert_eq!(
        faulty,
        "1:17 wrong_type [0].max: expected a whole number, found the string `x` (write a whole number)\n\
         1:22 missing_field [1]: missing field `max` (add `max: …` to `[1]`)\n\
         1:34 invalid_value [2]: min must be below max (swap them)\n"
    );
}

#[test]
fn what_no_stand_in_satisfies_does_not_cascade() {
    #[derive(Debug, Deserialize)]
    #[serde(try_from = "String")]
    #[allow(dead_code)]
    struct Picky(String);

    impl TryFrom<String> for Picky {
        type Error = String;
        fn try_from(text: String) -> Result<Self, String> {
            if text == "yes, exactly" { Ok(Picky(text)) } else { Err(format!("`{text}` is not picked")) }
        }
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Holder {
        first: Picky,
        second: u8,
        list: Vec<Picky>,
        map: BTreeMap<String, Picky>,
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Outer {
        holder: Holder,
        wrap: Wrap,
        last: u8,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    #[allow(dead_code)]
    enum Wrap {
        Only(Picky),
    }
    assert_eq!(
        problems_of::<Outer>(
            "holder: { first: a, second: b, list: [c, 'yes, exactly', d], map: { e: f } }\nwrap: { only: g }\nlast: h\n"
        ),
        "1:18 invalid_value holder.first: `a` is not picked\n\
         1:29 wrong_type holder.second: expected a whole number, found the string `b` (write a whole number)\n\
         1:39 invalid_value holder.list[0]: `c` is not picked\n\
         1:58 invalid_value holder.list[2]: `d` is not picked\n\
         1:72 invalid_value holder.map.e: `f` is not picked\n\
         2:15 invalid_value wrap.only: `g` is not picked\n\
         3:7 wrong_type last: expected a whole number, found the string `h` (write a whole number)\n"
    );
}

#[test]
fn enums_say_what_they_offer() {
    for (text, expected) in [
        ("{ mqqt: { url: x } }", "1:3 unknown_variant : unknown value `mqqt` (did you mean `mqtt`?)\n"),
        ("postgres", "1:1 unknown_variant : unknown value `postgres` (one of `mqtt`, `kafka`, `redis` and `memory`)\n"),
        ("redis", "1:1 wrong_type : `redis` needs a value (write `redis: …` as a mapping: `{ redis: … }`)\n"),
        ("{ memory: 5 }", "1:11 wrong_type memory: `memory` takes no value (write just `memory`)\n"),
        (
            "{}",
            "1:1 wrong_type : expected a mapping with exactly one key, found none (one of `mqtt`, `kafka`, `redis` and `memory`)\n",
        ),
        (
            "5",
            "1:1 wrong_type : expected a word or a mapping with one key, found the number 5 (one of `mqtt`, `kafka`, `redis` and `memory`)\n",
        ),
        (
            "{ kafka: { broker: [] } }",
            "1:12 unknown_field kafka.broker: unknown field `broker` (did you mean `brokers`?)\n",
        ),
        (
            "{ kafka: x }",
            "1:10 wrong_type kafka: expected a mapping, found the string `x` (its fields are `brokers`)\n",
        ),
    ] {
        assert_eq!(problems_of::<Connection>(text), expected, "{text}");
    }
}

#[test]
fn scalars_are_taken_at_their_word() {
    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Scalars {
        #[serde(default)]
        number: u8,
        float: Option<f64>,
        flag: Option<bool>,
        text: Option<String>,
        pair: Option<(u8, u8)>,
        port: Option<std::num::NonZeroU16>,
        by_port: Option<BTreeMap<u16, u8>>,
        by_kind: Option<BTreeMap<Fruit, u8>>,
        nothing: Option<()>,
        free: Option<serde_json::Value>,
    }

    #[derive(Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
    #[serde(rename_all = "snake_case")]
    enum Fruit {
        Apple,
    }
    for text in [
        "float: 80",
        "float: .5",
        "number: 0x10",
        "flag: true",
        "text: yes",
        "pair: [1, 2]",
        "by_port: { 80: 1, '81': 2 }",
        "by_kind: { apple: 1 }",
        "nothing: ~",
        "text: ~",
        "free: { a: [1, x, ~] }",
    ] {
        assert_eq!(problems_of::<Scalars>(text), "", "{text}");
    }
    for (text, expected) in [
        (
            "number: '5'",
            "1:9 wrong_type number: expected a whole number, found the string `5` (write it without quotes: `5`)\n",
        ),
        (
            "number: 5.0",
            "1:9 wrong_type number: expected a whole number, found the number 5.0 (write a whole number)\n",
        ),
        (
            "number: 256",
            "1:9 invalid_value number: the number 256 is out of range (write a whole number from 0 to 255)\n",
        ),
        (
            "number: \"${EMPTY}1\"",
            "1:9 wrong_type number: expected a whole number, found a string from the environment (what comes from the environment is always a string: write the number itself)\n",
        ),
        ("number:", "1:1 wrong_type number: expected a whole number, found nothing (write a whole number)\n"),
        (
            "flag: off",
            "1:7 wrong_type flag: expected `true` or `false`, found the string `off` (write `false`, without quotes)\n",
        ),
        ("text: true", "1:7 wrong_type text: expected a string, found `true` (quote it: `\"true\"`)\n"),
        ("pair: [1]", "1:7 invalid_value pair: expected a list of 2, found one of 1 (write a list of 2)\n"),
        ("port: 0", "1:7 invalid_value port: expected a nonzero u16, found the number 0 (write a nonzero u16)\n"),
        (
            "by_port: { x: 1 }",
            "1:12 wrong_type by_port.x: expected a whole number as the key, found `x` (write a whole number as the key)\n",
        ),
        ("by_kind: { aple: 1 }", "1:12 unknown_variant by_kind.aple: unknown value `aple` (did you mean `apple`?)\n"),
        ("nothing: 1", "1:10 wrong_type nothing: expected nothing, found the number 1 (remove the value)\n"),
        ("text: {\n  a: 1 }", "1:1 wrong_type text: expected a string, found a mapping (write a string)\n"),
    ] {
        assert_eq!(problems_of::<Scalars>(text), expected, "{text}");
    }
}

#[test]
fn durations_and_sizes_say_how_they_are_written() {
    for (text, expected) in [
        ("within: 60", "the duration `60` has no unit"),
        ("within: 1.5", "`1.5` is not a duration"),
        ("within: [60s]", "expected a duration such as `60s`, found a list"),
        ("within: 5min", "`min` in `5min` is not a unit of time"),
    ] {
        let found = problems_of::<Restart>(text);
        assert!(found.contains(expected) && found.lines().count() == 1, "{text}: {found}");
    }
}

#[test]
fn untagged_and_flattened_types_are_read_through() {
    #[derive(Debug, Deserialize)]
    #[serde(untagged)]
    #[allow(dead_code)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Flat {
        names: OneOrMany,
        #[serde(flatten)]
        rule: Rule,
    }
    assert_eq!(problems_of::<Flat>("names: a\nalert: x\nfor: 1s\nthreshold: 5\n"), "");
    assert_eq!(
        problems_of::<Flat>("names: 5\nalert: x\n"),
        "1:1 missing_field : missing field `threshold` (add `threshold: …` at the top level)\n\
         1:8 wrong_type names: the number 5 has none of the forms that are allowed here\n"
    );
}

#[test]
fn what_came_from_the_environment_is_never_repeated() {
    for text in [
        "within: \"${PERIOD}\"",
        "max_restarts: \"${PERIOD}\"",
        "\"a\": 1\nwithin: 1${PERIOD}",
        "jitter: [\"${PERIOD}\"]",
    ] {
        let found = problems_of::<Restart>(text);
        assert!(!found.is_empty() && !found.contains("sixty"), "{text}: {found}");
    }
    let found = problems_of::<Connection>("\"${KIND}\"");
    assert_eq!(
        found,
        "1:1 unknown_variant : what `${KIND}` gives is not allowed here (one of `mqtt`, `kafka`, `redis` and `memory`)\n"
    );
    assert_eq!(
        problems_of::<Restart>("within: 1${PERIOD}"),
        "1:9 invalid_value within: what `1${PERIOD}` gives is not allowed here (write a number and a unit, such as `100ms`, `60s`, `15m`, `5h`, `7d` or `1h30m`)\n"
    );
}

#[test]
fn parts_of_one_mapping_decode_by_types_of_their_own() {
    #[derive(Debug, Deserialize)]
    struct Common {
        inputs: Vec<String>,
    }
    let (document, mut problems) = document("inputs: [a]\nkafka_source: { connection: c, topics: [t], group: 5 }\n");
    let common = |key: &str| key == "inputs";
    let stage = document.root();
    assert_eq!(
        decode::<Common>(&stage.filter(common), &mut problems).map(|common| common.inputs),
        Some(vec!["a".into()])
    );
    assert!(problems.is_empty());
    let kind = &stage.filter(|key| !common(key)).members()[0].value.clone();
    assert!(decode::<KafkaSource>(kind, &mut problems).is_none());
    assert_eq!(problems.iter().map(|problem| problem.path().to_string()).collect::<Vec<_>>(), ["kafka_source.group"]);
}

#[test]
fn a_node_with_a_flaw_inside_is_still_taken_as_it_is() {
    #[derive(Deserialize)]
    struct Holder {
        node: Node,
        name: String,
    }
    let (document, mut problems) = document("node: { a: \"${NONE}\" }\nname: n\n");
    assert_eq!(problems.len(), 1);
    let holder: Holder = document.decode(&mut problems).expect("nothing that was read is flawed");
    assert_eq!(holder.name, "n");
    assert!(decode::<BTreeMap<String, String>>(&holder.node, &mut problems).is_none());
    assert_eq!(problems.len(), 1);
}

#[test]
fn the_search_for_problems_is_bounded() {
    let text = format!("topics: [{}]\nconnection: x\ngroup: g\n", vec!["1"; 20_000].join(","));
    let (document, mut problems) = document(&text);
    assert!(document.decode::<KafkaSource>(&mut problems).is_none());
    assert_eq!((problems.len(), problems.is_full()), (limits::MAX_PROBLEMS, true));

    let text: String = (0..1_000).map(|n| format!("field{n}: 1\n")).collect();
    let (document, mut problems) = super::super::fixtures::document(&text);
    assert!(document.decode::<KafkaSource>(&mut problems).is_none());
    let drawn = document.diagnostics(problems).to_string();
    assert!(drawn.ends_with("and 751 more problems in t.yaml\n"), "{}", &drawn[drawn.len() - 200..]);
}

#[test]
fn the_schema_of_a_located_value_is_that_of_the_value() {
    #[derive(schemars::JsonSchema)]
    #[allow(dead_code)]
    struct Spec {
        name: Located<String>,
        stages: Entries<Located<u8>>,
        within: Option<Located<HumanDuration>>,
        any: Node,
    }
    let schema = serde_json::to_value(schemars::schema_for!(Spec)).expect("a schema is JSON");
    assert_eq!(schema["properties"]["name"], serde_json::json!({ "type": "string" }));
    assert_eq!(schema["properties"]["stages"]["additionalProperties"]["type"], "integer");
    assert_eq!(schema["properties"]["any"], true);
    assert_eq!(schema["required"], serde_json::json!(["name", "stages", "any"]));
    let pattern = schema["properties"]["within"]["pattern"].as_str().expect("a pattern");
    assert!(pattern.contains("([0-9]+ms)?"), "{pattern}");
}

#[test]
fn a_secret_is_a_reference() {
    for text in ["{ env: P }", "{ file: /p }", "{ secret: { env: P } }", "{ secret: { file: /p } }"] {
        assert_eq!(problems_of::<Secret>(text), "", "{text}");
    }
    for text in ["hunter2", "[hunter2]", "{ value: hunter2 }", "{ secret: hunter2 }", "{ env: [hunter2] }"] {
        let (document, mut problems) = document(text);
        assert!(document.decode::<Secret>(&mut problems).is_none());
        let shown = document.diagnostics(problems).to_string();
        assert!(shown.contains("error[") && !shown.contains("hunter2"), "{shown}");
    }
}
