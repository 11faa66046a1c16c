//! Typical mistakes in a topology file: each is found at its place, with a hint, and all of them at once.

use std::io::Write;
use std::process::{Command, Stdio};

/// What `telemill validate` says of a text on standard input; it must refuse it.
fn problems_of(text: &str) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_telemill"))
        .args(["validate", "-"])
        .env_remove("NOT_SET")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it is built");
    child.stdin.take().expect("it is piped").write_all(text.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(!said.contains("s3cret"), "a password is printed:\n{said}");
    said
}

const MANY: &str = r#"version: 1
name: many-mistakes
connections:
  broker: { mqtt: { url: "mqtt://user:s3cret@broker:badport" } }
  log: { kafka: { brokers: ["127.0.0.1:9092"], broker: other } }
  state: { redis: { url: "${NOT_SET}" } }
topics:
  defaults: { connection: log, partitions: twelve, retention: 24 hours }
checkpoints: { redis: { connection: stat } }
stages:
  ingress:
    mqtt_ingres: { connection: broker, topics: ["devices/{device_id}/data"] }
  router:
    inputs: [ingresss]
    kafka_router: { connection: log, key: device_id, routes: { data: iot-data } }
  events:
    kafka_source: { connection: log, topics: [iot-data], grup: telemill }
  sessions:
    inputs: [events]
    device_session: { offline_after: 60, max_sessions: 0 }
  alerts:
    inputs: [sessions.presense]
    alert_evaluator:
      rules:
        - { alert: Hot, expr: "payload.temperature >" }
        - { alert: Hot, expr: "payload.temperature > 'hot' + 1", for: soon }
        - { alert: Never, labels: { severity: low } }
  alert_stream:
    inputs: [alerts]
    kafka_router: { connection: state, topic: alerts, key: device_id }
  writer:
    inputs: []
    batch: { max_records: 0 }
    redis_writer: { connection: state, history: 5h }
dead_letters: { kafka: { connection: log } }
restart: { max_restarts: -1, within: 60s }
"#;

#[test]
fn all_mistakes_of_a_file_are_told_at_once() {
    insta::assert_snapshot!(problems_of(MANY), @r#"
    error[mqtt::url]: the port is not a number from 1 to 65535
       ,-[<stdin>:4:26]
     3 | connections:
     4 |   broker: { mqtt: { url: "mqtt://***********@broker:badport" } }
       :                          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
     5 |   log: { kafka: { brokers: ["127.0.0.1:9092"], broker: other } }
       `----
      help: mqtt://***@]host[:port]

    error[topology::unknown_field]: unknown field `broker`
       ,-[<stdin>:5:48]
     4 |   broker: { mqtt: { url: "mqtt://***********@broker:badport" } }
     5 |   log: { kafka: { brokers: ["127.0.0.1:9092"], broker: other } }
       :                                                ^^^^^^
     6 |   state: { redis: { url: "${NOT_SET}" } }
       `----
      help: its fields are `brokers`, `client_id` and `properties`

    error[topology::unset_variable]: the environment variable `NOT_SET` is not set
       ,-[<stdin>:6:27]
     5 |   log: { kafka: { brokers: ["127.0.0.1:9092"], broker: other } }
     6 |   state: { redis: { url: "${NOT_SET}" } }
       :                           ^^^^^^^^^^
     7 | topics:
       `----
      help: set it, or give a default: `${NOT_SET:-default}`

    error[topology::wrong_type]: expected a whole number, found the string `twelve`
       ,-[<stdin>:8:44]
     7 | topics:
     8 |   defaults: { connection: log, partitions: twelve, retention: 24 hours }
       :                                            ^^^^^^
     9 | checkpoints: { redis: { connection: stat } }
       `----
      help: write a whole number

    error[topology::invalid_value]: `24 hours` is not a duration
       ,-[<stdin>:8:63]
     7 | topics:
     8 |   defaults: { connection: log, partitions: twelve, retention: 24 hours }
       :                                                               ^^^^^^^^
     9 | checkpoints: { redis: { connection: stat } }
       `----
      help: write a number and a unit, such as `100ms`, `60s`, `15m`, `5h`, `7d` or `1h30m`

    error[topology::unknown_connection]: there is no connection `stat`
        ,-[<stdin>:9:37]
      8 |   defaults: { connection: log, partitions: twelve, retention: 24 hours }
      9 | checkpoints: { redis: { connection: stat } }
        :                                     ^^^^
     10 | stages:
        `----
      help: declare one under `connections:`, such as `stat: { redis: { … } }`

    error[topology::unknown_variant]: there is no kind `mqtt_ingres` of stage
        ,-[<stdin>:12:5]
     11 |   ingress:
     12 |     mqtt_ingres: { connection: broker, topics: ["devices/{device_id}/data"] }
        :     ^^^^^^^^^^^
     13 |   router:
        `----
      help: did you mean `mqtt_ingress`?

    error[topology::unknown_stage]: there is no stage `ingresss`
        ,-[<stdin>:14:14]
     13 |   router:
     14 |     inputs: [ingresss]
        :              ^^^^^^^^
     15 |     kafka_router: { connection: log, key: device_id, routes: { data: iot-data } }
        `----
      help: did you mean `ingress`?

    error[topology::unknown_field]: unknown field `grup`
        ,-[<stdin>:17:58]
     16 |   events:
     17 |     kafka_source: { connection: log, topics: [iot-data], grup: telemill }
        :                                                          ^^^^
     18 |   sessions:
        `----
      help: did you mean `group`?

    error[topology::unused]: nothing takes what stage `sessions` emits
        ,-[<stdin>:18:3]
     17 |     kafka_source: { connection: log, topics: [iot-data], grup: telemill }
     18 |   sessions:
        :   ^^^^^^^^
     19 |     inputs: [events]
        `----
      help: name it as an input: `inputs: [sessions]`, or remove it

    error[topology::invalid_value]: the duration `60` has no unit
        ,-[<stdin>:20:38]
     19 |     inputs: [events]
     20 |     device_session: { offline_after: 60, max_sessions: 0 }
        :                                      ^^
     21 |   alerts:
        `----
      help: write a number and a unit, such as `100ms`, `60s`, `15m`, `5h`, `7d` or `1h30m`

    error[topology::unknown_stage]: stage `sessions` has no outlet `presense`
        ,-[<stdin>:22:14]
     21 |   alerts:
     22 |     inputs: [sessions.presense]
        :              ^^^^^^^^^^^^^^^^^
     23 |     alert_evaluator:
        `----
      help: outlets of `sessions`: `sessions.presence`, `sessions.commands`, `sessions.expired`

    error[topology::invalid_value]: `soon` is not a duration
        ,-[<stdin>:26:71]
     25 |         - { alert: Hot, expr: "payload.temperature >" }
     26 |         - { alert: Hot, expr: "payload.temperature > 'hot' + 1", for: soon }
        :                                                                       ^^^^
     27 |         - { alert: Never, labels: { severity: low } }
        `----
      help: write a number and a unit, such as `100ms`, `60s`, `15m`, `5h`, `7d` or `1h30m`

    error[topology::bad_input]: stage `writer` has no inputs
        ,-[<stdin>:31:3]
     30 |     kafka_router: { connection: state, topic: alerts, key: device_id }
     31 |   writer:
        :   ^^^^^^
     32 |     inputs: []
        `----
      help: name the stages that feed it: `inputs: [ingress]`

    error[topology::invalid_value]: `batch.max_records` must be at least 1
        ,-[<stdin>:33:27]
     32 |     inputs: []
     33 |     batch: { max_records: 0 }
        :                           ^
     34 |     redis_writer: { connection: state, history: 5h }
        `----
      help: leave it out for the default

    error[topology::missing_field]: missing field `topic`
        ,-[<stdin>:35:24]
     34 |     redis_writer: { connection: state, history: 5h }
     35 | dead_letters: { kafka: { connection: log } }
        :                        ^^^^^^^^^^^^^^^^^^^
     36 | restart: { max_restarts: -1, within: 60s }
        `----
      help: add `topic: …` to `dead_letters.kafka`

    error[topology::invalid_value]: the number -1 is out of range
        ,-[<stdin>:36:26]
     35 | dead_letters: { kafka: { connection: log } }
     36 | restart: { max_restarts: -1, within: 60s }
        :                          ^^
        `----
      help: write a whole number from 0 to 4294967295
    "#);
}

/// In a file whose fields all have the right types, what they say is looked at.
const MEANING: &str = r#"version: 1
name: many mistakes
connections:
  broker: { mqtt: { url: "mqtt://broker:1883", max_inflight: 0 } }
  log: { kafka: { brokers: [] } }
  state: { redis: { url: "redis://:s3cret@store:6379" } }
topics:
  defaults: { connection: log, partitions: 0 }
checkpoints: { redis: { connection: state } }
stages:
  ingress:
    mqtt_ingress: { connection: broker, topics: ["devices/+/data"], qos: 0 }
  router:
    inputs: [ingress]
    kafka_router: { connection: log, key: device, routes: { data: iot-data } }
  events:
    kafka_source: { connection: log, topics: [iot-data], group: telemill }
  sessions:
    inputs: [events]
    device_session: { offline_after: 0s, max_sessions: 0 }
  alerts:
    inputs: [sessions]
    alert_evaluator:
      rules:
        - { alert: Hot, expr: "payload.temperature >" }
        - { alert: Hot, expr: "payload.temperature > 'hot' + 1", for: 1m }
        - { alert: Never, labels: { severity: low } }
  alert_stream:
    inputs: [alerts]
    kafka_router: { connection: log, topic: alerts, key: device_id }
  writer:
    inputs: [events]
    redis_writer: { connection: state, history: 0s }
dead_letters: { kafka: { connection: log, topic: dlq } }
"#;

#[test]
fn all_mistakes_in_meaning_are_told_at_once() {
    insta::assert_snapshot!(problems_of(MEANING), @r#"
    error[topology::invalid_value]: `many mistakes` cannot be a topology's name
       ,-[<stdin>:2:7]
     1 | version: 1
     2 | name: many mistakes
       :       ^^^^^^^^^^^^^
     3 | connections:
       `----
      help: use 1 to 64 letters, digits, `-` and `_`: the name becomes part of keys and topics

    error[mqtt::max_inflight]: max_inflight is 1 to 16383, not 0
       ,-[<stdin>:4:62]
     3 | connections:
     4 |   broker: { mqtt: { url: "mqtt://broker:1883", max_inflight: 0 } }
       :                                                              ^
     5 |   log: { kafka: { brokers: [] } }
       `----
      help: give the broker the same finite window (Mosquitto: `max_inflight_messages`); 0 there means no limit, and redelivered messages could not be recognised

    error[kafka::no_brokers]: no brokers are named
       ,-[<stdin>:5:28]
     4 |   broker: { mqtt: { url: "mqtt://broker:1883", max_inflight: 0 } }
     5 |   log: { kafka: { brokers: [] } }
       :                            ^^
     6 |   state: { redis: { url: "redis://*******@store:6379" } }
       `----
      help: name at least one, as `host:port`

    error[topology::invalid_value]: `partitions` is 0, but must be from 1 to 4096
       ,-[<stdin>:8:44]
     7 | topics:
     8 |   defaults: { connection: log, partitions: 0 }
       :                                            ^
     9 | checkpoints: { redis: { connection: state } }
       `----
      help: write a number from 1 to 4096

    error[mqtt_ingress::topic]: `devices/+/data`: a topic template has no wildcards `+` and `#`; the device is its only open level
        ,-[<stdin>:12:50]
     11 |   ingress:
     12 |     mqtt_ingress: { connection: broker, topics: ["devices/+/data"], qos: 0 }
        :                                                  ^^^^^^^^^^^^^^^^
     13 |   router:
        `----
      help: such as devices/{device_id}/data

    error[mqtt_ingress::qos]: with qos 0 the broker may drop any message, so nothing could be promised
        ,-[<stdin>:12:74]
     11 |   ingress:
     12 |     mqtt_ingress: { connection: broker, topics: ["devices/+/data"], qos: 0 }
        :                                                                          ^
     13 |   router:
        `----
      help: use qos: 1; devices may still publish at qos 0, at their own risk

    error[topology::unknown_variant]: unknown value `device`
        ,-[<stdin>:15:43]
     14 |     inputs: [ingress]
     15 |     kafka_router: { connection: log, key: device, routes: { data: iot-data } }
        :                                           ^^^^^^
     16 |   events:
        `----
      help: did you mean `device_id`?

    error[topology::invalid_value]: a device would be offline at once
        ,-[<stdin>:20:38]
     19 |     inputs: [events]
     20 |     device_session: { offline_after: 0s, max_sessions: 0 }
        :                                      ^^
     21 |   alerts:
        `----
      help: such as `60s`

    error[topology::invalid_value]: there would be room for no device
        ,-[<stdin>:20:56]
     19 |     inputs: [events]
     20 |     device_session: { offline_after: 0s, max_sessions: 0 }
        :                                                        ^
     21 |   alerts:
        `----
      help: such as `1000000`

    error[expr::syntax]: expected a value, found the end of the expression
        ,-[<stdin>:25:53]
     24 |       rules:
     25 |         - { alert: Hot, expr: "payload.temperature >" }
        :                                                     ^
     26 |         - { alert: Hot, expr: "payload.temperature > 'hot' + 1", for: 1m }
        `----
      help: a condition is written like `payload.temperature > 80.0`

    error[alert::duplicate_name]: `rules[0].alert` is named `Hot`, too
        ,-[<stdin>:26:20]
     25 |         - { alert: Hot, expr: "payload.temperature >" }
     26 |         - { alert: Hot, expr: "payload.temperature > 'hot' + 1", for: 1m }
        :                    ^^^
     27 |         - { alert: Never, labels: { severity: low } }
        `----
      help: give each rule a name of its own

    error[expr::type_mismatch]: `+` cannot take a string and an int
        ,-[<stdin>:26:54]
     25 |         - { alert: Hot, expr: "payload.temperature >" }
     26 |         - { alert: Hot, expr: "payload.temperature > 'hot' + 1", for: 1m }
        :                                                      ^^^^^^^^^
     27 |         - { alert: Never, labels: { severity: low } }
        `----
      help: convert the other side with `string(…)`

    error[alert::condition]: the rule says nothing of when the alert is active
        ,-[<stdin>:27:11]
     26 |         - { alert: Hot, expr: "payload.temperature > 'hot' + 1", for: 1m }
     27 |         - { alert: Never, labels: { severity: low } }
        :           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
     28 |   alert_stream:
        `----
      help: add `expr: payload.temperature > 80.0`, or `absent_for: 10m`

    error[redis_writer::bad_history]: history is to be one or more whole seconds
        ,-[<stdin>:33:49]
     32 |     inputs: [events]
     33 |     redis_writer: { connection: state, history: 0s }
        :                                                 ^^
     34 | dead_letters: { kafka: { connection: log, topic: dlq } }
        `----
      help: timestamps in the history are whole seconds; write a duration such as 5h
    "#);
}

#[test]
fn a_file_that_is_no_yaml_is_told_where_it_breaks() {
    insta::assert_snapshot!(problems_of("version: 1\nname: [broken\nstages: {}\n"), @r#"
    error[topology::syntax]: illegal placement of ':' indicator
       ,-[<stdin>:3:7]
     2 | name: [broken
     3 | stages: {}
       :       ^
       `----
      help: if the `:` belongs to a value, quote that value; else check the indentation
    "#);
}

#[test]
fn the_same_name_twice_is_one_too_many() {
    insta::assert_snapshot!(problems_of("version: 1\nname: a\nname: b\n"), @r#"
    error[topology::missing_field]: missing field `checkpoints`
       ,-[<stdin>:1:1]
     1 | version: 1
       : ^^^^^^^^^^
     2 | name: a
       `----
      help: add `checkpoints: …` at the top level

    error[topology::missing_field]: missing field `stages`
       ,-[<stdin>:1:1]
     1 | version: 1
       : ^^^^^^^^^^
     2 | name: a
       `----
      help: add `stages: …` at the top level

    error[topology::missing_field]: missing field `dead_letters`
       ,-[<stdin>:1:1]
     1 | version: 1
       : ^^^^^^^^^^
     2 | name: a
       `----
      help: add `dead_letters: …` at the top level

    error[topology::duplicate_key]: `name` is given twice
       ,-[<stdin>:3:1]
     1 | version: 1
     2 | name: a
       : ^^|^
       :   `-- first given here
     3 | name: b
       : ^^|^
       :   `-- given again here
       `----
      help: remove one of the two, or give it the name that was meant
    "#);
}

const CYCLE: &str = r#"version: 2
name: cycle
connections:
  log: { kafka: { brokers: ["127.0.0.1:9092"] } }
  state: { redis: { url: "redis://127.0.0.1" } }
topics: { defaults: { connection: log, partitions: 3 } }
checkpoints: { redis: { connection: state } }
stages:
  events:
    kafka_source: { connection: state, topics: [a], group: g }
  sessions:
    inputs: [events, alerts]
    device_session: { offline_after: 60s }
  alerts:
    inputs: [sessions]
    alert_evaluator: { rules: [{ alert: Silent, absent_for: 10m }] }
  idle:
    inputs: [sessions]
    device_session: {}
    redis_writer: { connection: state, history: 5h }
dead_letters: { kafka: { connection: log, topic: dlq } }
"#;

#[test]
fn a_cycle_and_a_stage_of_two_kinds_are_found() {
    insta::assert_snapshot!(problems_of(CYCLE), @r#"
    error[topology::invalid_value]: version 2 is not known
       ,-[<stdin>:1:10]
     1 | version: 2
       :          ^
     2 | name: cycle
       `----
      help: this is version 1 of the topology language: write `version: 1`

    error[topology::wrong_connection]: connection `state` is of kind `redis`, but `kafka` is needed here
        ,-[<stdin>:10:33]
      9 |   events:
     10 |     kafka_source: { connection: state, topics: [a], group: g }
        :                                 ^^^^^
     11 |   sessions:
        `----
      help: connections of kind `kafka` here: `log`

    error[topology::cycle]: stages feed each other in a circle: `sessions` → `alerts` → `sessions`
        ,-[<stdin>:12:13]
     11 |   sessions:
     12 |     inputs: [events, alerts]
        :             ^^^^^^^^^^^^^^^^
     13 |     device_session: { offline_after: 60s }
        `----
      help: remove one of these inputs: records flow from sources to sinks

    error[topology::one_kind]: stage `idle` names a second kind, `redis_writer`
        ,-[<stdin>:20:5]
     19 |     device_session: {}
     20 |     redis_writer: { connection: state, history: 5h }
        :     ^^^^^^^^^^^^
     21 | dead_letters: { kafka: { connection: log, topic: dlq } }
        `----
      help: keep one kind; settings of a kind go inside it
    "#);
}
