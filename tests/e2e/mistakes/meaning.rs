//! Mistakes in what a well-written file says: values, expressions, and how stages are joined.

use super::problems_of;

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

    error[topology::wrong_connection]: connection `state` is of kind `redis`, but `embedded` or `kafka` is needed here
        ,-[<stdin>:10:33]
      9 |   events:
     10 |     kafka_source: { connection: state, topics: [a], group: g }
        :                                 ^^^^^
     11 |   sessions:
        `----
      help: connections of kind `embedded` or `kafka` here: `log`

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

#[test]
fn dead_letters_must_take_whatever_the_ingress_lets_in() {
    let shipped = include_str!("../../../topologies/quickstart.yaml");
    let larger = "/hello\"], max_payload: 4MiB }";
    let said = problems_of(&shipped.replacen("/hello\"] }", larger, 1));
    for part in
        ["error[topology::bad_topics]: topic `iot-data-dlq` takes messages of up to", "`ingress`", "max_message_size:"]
    {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn the_log_of_the_topics_must_be_one() {
    let check = |connection: &str, code: &str, message: &str, hint: &str| {
        let text = CYCLE.replace("connection: log, partitions: 3", &format!("connection: {connection}, partitions: 3"));
        let said = problems_of(&text);
        let problem = said.split("\n\n").find(|problem| problem.contains("<stdin>:6:35")).unwrap_or_default();
        assert!(problem.contains(code) && problem.contains(message) && problem.contains(hint), "{said}");
    };
    let hint = "connections of kind `embedded` or `kafka` here: `log`";
    check("lgo", "topology::unknown_connection", "there is no connection `lgo`", hint);
    check(
        "state",
        "topology::wrong_connection",
        "connection `state` is of kind `redis`, but `embedded` or `kafka` is needed here",
        hint,
    );
}
