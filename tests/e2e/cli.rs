//! What is typed: verbs, their output and their exit codes.

use std::process::{Command, Output};

use serde_json::Value;
use telemill_services::wait_until;

use crate::support::{DEADLINE, Publisher, Site, Telemill};

fn telemill(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_telemill"));
    command.args(arguments).env_remove("TELEMILL_URL").env_remove("MQTT_URL");
    command.output().expect("it is built")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it ended by itself")
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

const TOPOLOGY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/topologies/iot-ingestion.yaml");

#[test]
fn every_verb_explains_itself() {
    let help = telemill(&["--help"]);
    assert_eq!(code(&help), 0);
    for verb in ["run", "validate", "graph", "schema", "simulate", "devices", "command", "alerts"] {
        assert!(out(&help).lines().any(|line| line.trim_start().starts_with(verb)), "{verb} in\n{}", out(&help));
        let help = telemill(&[verb, "--help"]);
        assert_eq!(code(&help), 0, "{verb}");
        assert!(out(&help).contains("Usage: telemill"), "{verb}: {}", out(&help));
        assert!(out(&help).contains("Example"), "{verb} has no examples:\n{}", out(&help));
    }
}

#[test]
fn exit_codes_tell_a_bad_file_from_a_failure() {
    assert_eq!(code(&telemill(&["validate", TOPOLOGY])), 0);
    assert_eq!(code(&telemill(&["validate", "--no-such-flag"])), 2);
    assert_eq!(code(&telemill(&[])), 2);
    let missing = telemill(&["validate", "no/such/file.yaml"]);
    assert_eq!(code(&missing), 2);
    assert!(err(&missing).contains("cannot read no/such/file.yaml"), "{}", err(&missing));
    let nobody = telemill(&["devices", "--url", "http://127.0.0.1:1"]);
    assert_eq!(code(&nobody), 1);
    assert!(err(&nobody).contains("cannot reach http://127.0.0.1:1"), "{}", err(&nobody));
    let open = telemill(&["run", TOPOLOGY, "--listen", "0.0.0.0:7400"]);
    assert_eq!(code(&open), 2);
    assert!(err(&open).contains("not a loopback address"), "{}", err(&open));
}

#[test]
fn a_good_file_is_said_to_be_good_and_drawn() {
    let good = telemill(&["validate", TOPOLOGY]);
    assert!(out(&good).contains("topology `iot-ingestion` is good: 8 stages"), "{}", out(&good));
    let json = telemill(&["validate", "-o", "json", TOPOLOGY]);
    assert_eq!(serde_json::from_str::<Value>(&out(&json)).expect("JSON"), serde_json::json!([]));
    let graph = out(&telemill(&["graph", TOPOLOGY]));
    for stage in ["ingress", "router", "events", "sessions", "alerts", "alert_stream", "to_store", "writer"] {
        assert!(graph.contains(stage), "{stage} in\n{graph}");
    }
    let schema: Value = serde_json::from_str(&out(&telemill(&["schema"]))).expect("JSON");
    assert!(schema["properties"]["stages"].is_object(), "{schema}");
    for kind in ["mqtt_ingress", "kafka_router", "kafka_source", "device_session", "alert_evaluator", "redis_writer"] {
        assert!(schema.to_string().contains(kind), "{kind} is not in the schema");
    }
}

#[test]
fn devices_and_commands_from_the_command_line() {
    let site = Site::new("cli");
    let running = Telemill::run(&site);
    let url = running.http.url.clone();
    let device = site.device(1);
    let at = |arguments: &[&str]| telemill(&[arguments, &["--url", &url]].concat());
    let unknown = at(&["command", &device, "{}"]);
    assert_eq!((code(&unknown), err(&unknown).contains("is not known")), (1, true), "{}", err(&unknown));
    let mut publisher = Publisher::connect(&site.mqtt);
    publisher.send(&site.mqtt_topic(&device, "data"), r#"{"temperature":21.5}"#);
    wait_until(DEADLINE, "the device in the list", || {
        out(&at(&["devices"])).lines().any(|line| line == device).then_some(())
    });
    let shown = wait_until(DEADLINE, "its state", || {
        Some(out(&at(&["devices", &device]))).filter(|shown| shown.contains("state"))
    });
    assert!(shown.contains(&format!("{device} is online")) && shown.contains("21.5"), "{shown}");
    let list: Value = serde_json::from_str(&out(&at(&["devices", "-o", "json"]))).expect("JSON");
    assert!(
        list.as_array().is_some_and(|list| list.iter().any(|entry| entry["device_id"] == device.as_str())),
        "{list}"
    );
    let accepted = at(&["command", &device, r#"{"command":"start"}"#]);
    assert_eq!((code(&accepted), out(&accepted).starts_with("accepted as ")), (0, true), "{}", err(&accepted));
    let alerts = at(&["alerts", "list", "-o", "json"]);
    assert_eq!((code(&alerts), out(&alerts).trim()), (0, "[]"));
    running.drain();
}
