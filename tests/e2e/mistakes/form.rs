//! Mistakes in how a file is written: names, types and fields.

use super::problems_of;

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
      help: mqtt://[user[:password]@]host[:port]

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
      help: connections of kind `redis` here: `state`

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
