use crate::topology::document::fixtures::{KafkaSource, Topology, brief, document};
use crate::topology::document::*;

const MISTAKES: &str = r#"version: one
name: 42
nam: again
connections:
  broker:
    mqtt: { url: "${MQTT_URL}", packet_ids: cyklic, max_inflight: 70000, keep_alive: 60, password: hunter2 }
  log:
    kafka: { broker: [127.0.0.1:9092] }
  other:
    kafka:
      brokers: 127.0.0.1:9092
  state: { reddis: { url: "${REDIS_URL}" } }
  cache: { redis: { url: "${REDIS_URL}", max_value: 10 MB } }
  two: { redis: { url: x }, mqtt: {} }
  empty:
    mqtt:
  log:
    memory: 3
stages:
  events:
    kafka_source:
      topics: [iot-data, 5]
restart: { max_restarts: -1, within: 5 minutes, jitter: yes }
dead_letters: [a]
"#;

fn mistakes() -> Diagnostics {
    let (document, mut problems) = document(MISTAKES);
    assert!(document.decode::<Topology>(&mut problems).is_none());
    let node = document.root().find(&"stages.events.kafka_source".into()).expect("it is there");
    assert!(decode::<KafkaSource>(node, &mut problems).is_none());
    document.diagnostics(problems)
}

#[test]
fn every_mistake_in_a_file_is_reported_at_once() {
    insta::assert_snapshot!(brief(&mistakes()), @r#"
    1:10 wrong_type version: expected a whole number, found the string `one` (write a whole number)
    2:7 wrong_type name: expected a string, found the number 42 (quote it: `"42"`)
    3:1 unknown_field nam: unknown field `nam` (its fields are `version`, `name`, `connections`, `stages`, `restart` and `dead_letters`)
    6:45 unknown_variant connections.broker.mqtt.packet_ids: unknown value `cyklic` (did you mean `cyclic`?)
    6:67 invalid_value connections.broker.mqtt.max_inflight: the number 70000 is out of range (write a whole number from 0 to 65535)
    6:86 invalid_value connections.broker.mqtt.keep_alive: the duration `60` has no unit (write a number and a unit, such as `100ms`, `60s`, `15m`, `5h`, `7d` or `1h30m`)
    6:100 wrong_type connections.broker.mqtt.password: expected a reference to a secret, found a plain string (write `{ secret: { env: NAME } }` or `{ secret: { file: PATH } }`)
    8:14 unknown_field connections.log.kafka.broker: unknown field `broker` (did you mean `brokers`?)
    11:16 wrong_type connections.other.kafka.brokers: expected a list, found the string `127.0.0.1:9092` (put it into brackets: `[127.0.0.1:9092]`)
    12:12 unknown_variant connections.state: unknown value `reddis` (did you mean `redis`?)
    12:28 unset_variable connections.state.reddis.url: the environment variable `REDIS_URL` is not set (set it, or give a default: `${REDIS_URL:-default}`)
    13:27 unset_variable connections.cache.redis.url: the environment variable `REDIS_URL` is not set (set it, or give a default: `${REDIS_URL:-default}`)
    13:53 invalid_value connections.cache.redis.max_value: `10 MB` is not a size (write a whole number and a unit, such as `512B`, `256KiB`, `10MB` or `1GiB`)
    14:8 wrong_type connections.two: expected a mapping with exactly one key, found `redis` and `mqtt` (one of `mqtt`, `kafka`, `redis` and `memory`)
    16:5 wrong_type connections.empty.mqtt: expected a mapping, found nothing (its fields are `url`, `packet_ids`, `max_inflight`, `keep_alive` and `password`)
    17:3 duplicate_key connections.log: `log` is given twice (remove one of the two, or give it the name that was meant)
    21:5 missing_field stages.events.kafka_source: missing field `connection` (add `connection: …` to `stages.events.kafka_source`)
    21:5 missing_field stages.events.kafka_source: missing field `group` (add `group: …` to `stages.events.kafka_source`)
    22:26 wrong_type stages.events.kafka_source.topics[1]: expected a string, found the number 5 (quote it: `"5"`)
    23:26 invalid_value restart.max_restarts: the number -1 is out of range (write a whole number from 0 to 4294967295)
    23:38 invalid_value restart.within: `5 minutes` is not a duration (write a number and a unit, such as `100ms`, `60s`, `15m`, `5h`, `7d` or `1h30m`)
    23:57 wrong_type restart.jitter: expected `true` or `false`, found the string `yes` (write `true`, without quotes)
    24:15 wrong_type dead_letters: expected a string, found a list (write a string)
    "#);
}

fn drawn(text: &str, problem: Problem, style: Style) -> String {
    let (document, mut problems) = document(text);
    problems.push(problem.in_node(document.root()));
    document.diagnostics(problems).render(style)
}

#[test]
fn a_problem_is_drawn_with_the_source_around_it() {
    let text = "rules:\n  - alert: Hot\n    expr: payload.temprature > 80\n    for: 30s\n";
    let problem = || {
        Problem::new("topology::bad_expression", "`temprature` is no field")
            .at("rules[0].expr")
            .within(8..18)
            .label("not seen before")
            .hint("did you mean `temperature`?")
    };
    insta::assert_snapshot!(drawn(text, problem(), Style::PLAIN), @r#"
    error[topology::bad_expression]: `temprature` is no field
       ,-[t.yaml:3:19]
     2 |   - alert: Hot
     3 |     expr: payload.temprature > 80
       :                   ^^^^^|^^^^
       :                        `-- not seen before
     4 |     for: 30s
       `----
      help: did you mean `temperature`?
    "#);
    insta::assert_snapshot!(drawn(text, problem(), Style::TERMINAL).replace('\u{1b}', "^"), @r#"
    ^[31merror[topology::bad_expression]:^[0m `temprature` is no field
       ╭─[^[36;1;4mt.yaml:3:19^[0m]
     ^[2m2^[0m │   - alert: Hot
     ^[2m3^[0m │     expr: payload.temprature > 80
       · ^[35;1m                  ─────┬────^[0m
       ·                        ^[35;1m╰── ^[35;1mnot seen before^[0m^[0m
     ^[2m4^[0m │     for: 30s
       ╰────
    ^[36m  help: ^[0mdid you mean `temperature`?
    "#);
}

#[test]
fn two_places_are_drawn_together() {
    let text = "a: 1\nb: 2\nc: 3\nd: 4\ne: 5\nf: 6\na: 7\nf: 8\n";
    let (document, problems) = document(text);
    insta::assert_snapshot!(document.diagnostics(problems), @r#"
    error[topology::duplicate_key]: `a` is given twice
       ,-[t.yaml:7:1]
     6 | f: 6
     7 | a: 7
       : |
       : `-- given again here
     8 | f: 8
       `----
      help: remove one of the two, or give it the name that was meant
      note: first given here at t.yaml:1:1

    error[topology::duplicate_key]: `f` is given twice
       ,-[t.yaml:8:1]
     5 | e: 5
     6 | f: 6
       : |
       : `-- first given here
     7 | a: 7
     8 | f: 8
       : |
       : `-- given again here
       `----
      help: remove one of the two, or give it the name that was meant
    "#);
}

#[test]
fn secrets_are_not_shown() {
    let text = "a: { url: \"mqtt://u:pässword@h\", password: hunter2 }\nb: ${MQTT_URL}\n";
    let problem = |path: &str| {
        Problem::new("x::y", "cannot use mqtt://u:pässword@h and mqtt://admin:hunter2@broker:1883")
            .at(path)
            .hint("not `mqtt://admin:hunter2@broker:1883`")
    };
    let (document, mut problems) = document(text);
    let secret = document.locate(&"a.password".into());
    problems.push(problem("b").in_node(document.root()));
    problems.push(problem("a.url").masking(secret).in_node(document.root()));
    let shown = document.diagnostics(problems).to_string();
    assert!(!shown.contains("pässword") && !shown.contains("hunter2") && shown.contains("${MQTT_URL}"), "{shown}");
    assert!(shown.contains(r#"a: { url: "mqtt://***********@h", password: ******* }"#), "{shown}");
}

#[test]
fn what_is_hidden_does_not_shift_what_is_behind_it() {
    let text = "a: { url: \"mqtt://u:pässwörd@h\", b: 1, b: 2 }\n";
    let (document, problems) = document(text);
    let diagnostics = document.diagnostics(problems);
    let position = diagnostics.iter().next().map(|problem| diagnostics.position(problem));
    assert_eq!(position, Some(Position { line: 1, column: 40 }));
    assert!(diagnostics.to_string().contains("[t.yaml:1:40]"), "{diagnostics}");
}

#[test]
fn long_lines_are_shown_in_part() {
    let text = format!(
        "{{\"a\": [{}], \"b\": {{\"c\": \"é\", \"c\": 5}}, \"d\": [{}]}}",
        "1, ".repeat(5_000),
        "2, ".repeat(5_000)
    );
    let (document, problems) = document(&text);
    let drawn = document.diagnostics(problems).render(Style::PLAIN);
    assert!(drawn.len() < 2_000 && drawn.contains("[t.yaml:1:15027]"), "{drawn}");
    assert!(drawn.contains(r#""c": "é", "c": 5"#), "{drawn}");
    let whole = Problem::new("x::y", "all of it");
    let all =
        super::Diagnostics::new(document.source().clone(), [whole.in_node(document.root())].into_iter().collect());
    assert!(all.to_string().len() < 2_000);
}

#[test]
fn a_program_gets_json() {
    let (document, problems) = document("a: 1\nb: { c: 1, c: 2 }\n");
    insta::assert_snapshot!(serde_json::to_string_pretty(&document.diagnostics(problems).to_json()).expect("it is JSON"), @r#"
    [
      {
        "code": "topology::duplicate_key",
        "column": 12,
        "file": "t.yaml",
        "hint": "remove one of the two, or give it the name that was meant",
        "line": 2,
        "message": "`c` is given twice",
        "path": "b.c"
      }
    ]
    "#);
}
