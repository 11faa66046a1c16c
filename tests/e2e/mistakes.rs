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
name: many mistakes
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
    insta::assert_snapshot!(problems_of(MANY), @"");
}

#[test]
fn a_file_that_is_no_yaml_is_told_where_it_breaks() {
    insta::assert_snapshot!(problems_of("version: 1\nname: [broken\nstages: {}\n"), @"");
}

#[test]
fn the_same_name_twice_is_one_too_many() {
    insta::assert_snapshot!(problems_of("version: 1\nname: a\nname: b\n"), @"");
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
    kafka_source: { connection: log, topics: [a], group: g }
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
    insta::assert_snapshot!(problems_of(CYCLE), @"");
}
