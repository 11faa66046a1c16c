//! `telemill simulate` against a real broker: what it says it published is what a plain subscriber got. And what holds of
//! every verb: its exit codes, and that it ends quietly when nobody reads what it prints.

#![allow(clippy::unwrap_used, reason = "whatever is missing in a test is a failure of it")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rumqttc::{Client, Event, MqttOptions, Packet, QoS};
use serde_json::Value;
use telemill_services::{Mosquitto, Services, unique_name, wait_until};

const DEADLINE: Duration = Duration::from_secs(60);

fn simulate(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_telemill"));
    command.args(["simulate", "-o", "json", "--url", url]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs to the end; exit code, summary and standard error.
fn run(url: &str, arguments: &[&str]) -> (i32, Value, String) {
    outcome(simulate(url, arguments).output().unwrap())
}

fn outcome(output: Output) -> (i32, Value, String) {
    let errors = String::from_utf8(output.stderr).unwrap();
    let summary = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code().unwrap_or_else(|| panic!("ended by a signal; {errors}")), summary, errors)
}

/// Messages in the order of their arrival: topic and payload.
type Messages = Vec<(String, Vec<u8>)>;

/// Listens to every topic below a prefix.
struct Listener {
    client: Client,
    messages: Arc<Mutex<Messages>>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    fn start(url: &str, prefix: &str) -> Listener {
        let (host, port) = url.strip_prefix("mqtt://").and_then(|place| place.split_once(':')).unwrap();
        let mut options = MqttOptions::new(unique_name("listener"), host, port.parse().unwrap());
        options.set_keep_alive(Duration::from_secs(60));
        let (client, mut connection) = Client::new(options, 10);
        client.subscribe(format!("{prefix}/#"), QoS::AtLeastOnce).unwrap();
        let messages = Arc::new(Mutex::new(Vec::new()));
        let subscribed = Arc::new(Mutex::new(false));
        let (kept, told) = (messages.clone(), subscribed.clone());
        let thread = std::thread::spawn(move || {
            for event in connection.iter() {
                match event {
                    Ok(Event::Incoming(Packet::SubAck(_))) => *told.lock().unwrap() = true,
                    Ok(Event::Incoming(Packet::Publish(publish))) => {
                        kept.lock().unwrap().push((publish.topic, publish.payload.to_vec()));
                    }
                    Ok(_) => {}
                    Err(_) => return,
                }
            }
        });
        wait_until(DEADLINE, "the subscription", || subscribed.lock().unwrap().then_some(()));
        Listener { client, messages, thread: Some(thread) }
    }

    /// What arrived, once it is so many messages.
    fn messages(&self, expect: u64) -> Messages {
        let what = format!("{expect} messages");
        wait_until(DEADLINE, &what, || (self.messages.lock().unwrap().len() as u64 >= expect).then_some(()));
        self.messages.lock().unwrap().clone()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // The connection may be gone already, and the thread with it.
        let _ = self.client.disconnect();
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// The payloads of each topic, in order.
fn by_topic(messages: Messages, prefix: &str) -> BTreeMap<String, Vec<Vec<u8>>> {
    let mut topics: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    for (topic, payload) in messages {
        let rest = topic.strip_prefix(&format!("{prefix}/")).unwrap_or_else(|| panic!("{topic} is not below {prefix}"));
        topics.entry(rest.to_owned()).or_default().push(payload);
    }
    topics
}

#[test]
fn every_record_arrives_in_order_and_the_same_seed_sends_the_same() {
    let url = Services::shared().mqtt_url();
    let mut runs = Vec::new();
    for _ in 0..2 {
        let prefix = unique_name("fleet");
        let listener = Listener::start(url, &prefix);
        let (code, summary, errors) = run(
            url,
            &[
                "--topic-prefix",
                &prefix,
                "--devices",
                "7",
                "--rate",
                "0",
                "--count",
                "700",
                "--seed",
                "5",
                "--connections",
                "3",
            ],
        );
        assert_eq!(code, 0, "{errors}");
        assert_eq!((&summary["records"], &summary["seed"]), (&700.into(), &5.into()));
        assert_eq!(summary["published"], summary["acknowledged"]);
        let mut topics = by_topic(listener.messages(summary["published"].as_u64().unwrap()), &prefix);
        let hellos: usize = (1..=7).filter_map(|n| topics.remove(&format!("device-{n}/hello"))).map(|h| h.len()).sum();
        assert_eq!(summary["hellos"], hellos, "{summary}");
        runs.push(topics);
    }
    for (topic, payloads) in &runs[0] {
        let seqs: Vec<u64> =
            payloads.iter().map(|p| serde_json::from_slice::<Value>(p).unwrap()["seq"].as_u64().unwrap()).collect();
        assert_eq!(seqs, (1..=100).collect::<Vec<u64>>(), "{topic}");
    }
    let names: Vec<String> = (1..=7).map(|n| format!("device-{n}/data")).collect();
    assert_eq!(runs[0].keys().cloned().collect::<Vec<String>>(), names);
    assert_eq!(runs[0], runs[1]);
}

#[test]
fn misbehaviour_is_what_the_summary_says() {
    let url = Services::shared().mqtt_url();
    let prefix = unique_name("fleet");
    let listener = Listener::start(url, &prefix);
    let (code, summary, errors) = run(
        url,
        &[
            "--topic-prefix",
            &prefix,
            "--devices",
            "4",
            "--rate",
            "400",
            "--for",
            "2s",
            "--hello-every",
            "0s",
            "--silent",
            "1",
            "--silent-after",
            "1s",
            "--hot",
            "1",
            "--malformed",
            "10",
            "--duplicate",
            "10",
            "--payload",
            r#"{"id":"{{uuid}}","t":{{temperature}}}"#,
        ],
    );
    assert_eq!(code, 0, "{errors}");
    let count = |what: &str| summary[what].as_u64().unwrap();
    // Four devices of 100 records a second; one of them is silent for the second half.
    assert_eq!((count("records"), count("hellos")), (700, 0));
    assert_eq!((count("published"), count("acknowledged")), (700 + count("duplicates"), count("published")));
    let topics = by_topic(listener.messages(count("published")), &prefix);
    let mut malformed = 0;
    let mut twice = 0;
    for (topic, payloads) in &topics {
        let repeats = payloads.windows(2).filter(|pair| pair[0] == pair[1]).count();
        let broken = payloads.iter().filter(|p| serde_json::from_slice::<Value>(p).is_err()).count();
        malformed += broken as u64;
        twice += repeats as u64;
        let own = if topic == "device-1/data" { 100 } else { 200 };
        assert!((own..own + 80).contains(&payloads.len()), "{topic}: {}", payloads.len());
    }
    // A malformed record that is sent twice is seen twice, and two empty ones look like one sent twice.
    let near = |seen: u64, said: u64| seen >= said && seen - said < 40;
    assert!(near(malformed, count("malformed")) && near(twice, count("duplicates")), "{malformed} {twice} {summary}");
    assert!(count("malformed") > 30 && count("duplicates") > 30, "{summary}");
    let last_hot = topics["device-4/data"].iter().rev().find_map(|p| serde_json::from_slice::<Value>(p).ok()).unwrap();
    assert!(last_hot["t"].as_f64().unwrap() > 80.0, "{last_hot}");
}

/// A run in the background whose lines on standard error are read.
struct Running {
    child: Child,
    errors: BufReader<std::process::ChildStderr>,
}

impl Running {
    fn start(url: &str, arguments: &[&str]) -> Running {
        let mut child = simulate(url, arguments).spawn().unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap());
        Running { child, errors }
    }

    /// Reads lines until one contains the text.
    fn until(&mut self, text: &str) {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert_ne!(self.errors.read_line(&mut line).unwrap(), 0, "it ended before it said {text:?}");
        }
    }

    fn interrupt(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    }

    fn end(mut self) -> (i32, Value, String) {
        let mut errors = String::new();
        self.errors.read_to_string(&mut errors).unwrap();
        let (code, summary, _) = outcome(self.child.wait_with_output().unwrap());
        (code, summary, errors)
    }
}

#[test]
fn an_interrupt_ends_it_with_everything_acknowledged() {
    let prefix = unique_name("fleet");
    let mut running = Running::start(Services::shared().mqtt_url(), &["--topic-prefix", &prefix, "--rate", "100"]);
    running.until("acknowledged");
    running.interrupt();
    let (code, summary, errors) = running.end();
    assert_eq!(code, 0, "{errors}");
    assert!(summary["records"].as_u64().unwrap() > 0, "{summary}");
    assert_eq!(summary["published"], summary["acknowledged"]);
}

#[test]
fn a_broker_that_comes_back_gets_what_it_had_not_acknowledged() {
    let broker = Mosquitto::start();
    let mut running = Running::start(&broker.url(), &["--devices", "20", "--rate", "500", "--for", "12s"]);
    running.until("acknowledged");
    broker.kill9();
    running.until("trying again");
    broker.restart();
    let (code, summary, errors) = running.end();
    assert_eq!(code, 0, "{errors}");
    assert_eq!(summary["records"], 6000);
    assert_eq!(summary["published"], summary["acknowledged"]);
}

#[test]
fn a_broker_that_stays_away_is_given_up() {
    let broker = Mosquitto::start();
    let url = broker.url();
    broker.kill9();
    let (code, summary, errors) = run(&url, &["--timeout", "500ms"]);
    assert_eq!((code, &summary["acknowledged"]), (1, &0.into()), "{errors}");
    assert!(errors.contains(&format!("error: {} was not there for 500ms", broker.address())), "{errors}");
}

#[test]
fn bad_arguments_are_refused_before_anything_is_sent_and_secrets_are_not_repeated() {
    let check = |arguments: &[&str], expect: &str| {
        // Nothing listens there: what is checked too late fails otherwise.
        let (code, summary, errors) = run("mqtt://127.0.0.1:1", arguments);
        assert_eq!((code, summary), (2, Value::Null), "{arguments:?}: {errors}");
        assert!(errors.contains(expect) && !errors.contains("hunter2"), "{arguments:?}: {errors}");
    };
    check(&["--payload", r#"{"a":{{sek}}}"#], "`{{sek}}` at column 6 is no placeholder");
    check(&["--payload", "{{uuid}}"], "the payload is not JSON");
    check(&["--devices", "0"], "0 is not in 1..=10000000");
    check(&["--rate", "-1"], "it is not 0 or above");
    check(&["--rate", "NaN"], "it is not 0 or above");
    check(&["--malformed", "101"], "it is not between 0 and 100");
    check(&["--for", "10"], "the duration `10` has no unit");
    check(&["--devices", "3", "--hot", "4"], "--hot 4 are more than there are devices (3)");
    check(&["--topic-prefix", "a/#"], "--topic-prefix");
    check(&["--device-prefix", "a/b"], "--device-prefix makes no device ids");
    let with_secret = run("mqtts://ann:hunter2@broker", &[]);
    assert_eq!(with_secret.0, 2);
    assert!(with_secret.2.contains("speaks no TLS") && !with_secret.2.contains("hunter2"), "{}", with_secret.2);
}

fn telemill(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_telemill"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for name in ["TELEMILL_URL", "TELEMILL_LISTEN", "MQTT_URL"] {
        command.env_remove(name);
    }
    command
}

/// A server that gives every request the same answer, for as long as the test runs.
fn server(status: &str, body: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut request = BufReader::new(stream.try_clone().unwrap());
            let (mut line, mut length) = (String::new(), 0);
            while request.read_line(&mut line).unwrap_or(0) > 2 {
                let header = line.to_ascii_lowercase();
                length = header.strip_prefix("content-length:").map_or(length, |n| n.trim().parse().unwrap());
                line.clear();
            }
            // A request that is not read to its end would be answered with a reset.
            let _ = request.read_exact(&mut vec![0; length]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    url
}

const TOPOLOGY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/topologies/iot-ingestion.yaml");

#[test]
fn exit_codes_are_the_same_for_every_verb() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique_name("codes"));
    std::fs::create_dir_all(&dir).unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = dir.join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (flawed, binary) = (file("flawed.yaml", b"version: 1\n"), file("binary.yaml", b"\xff\xfe\0"));
    let directory = dir.to_str().unwrap().to_owned();
    let problem = |detail: &str| format!(r#"{{"title":"x","detail":"{detail}"}}"#);
    let (fine, garbled) = (server("200 OK", "[]"), server("200 OK", "<html>"));
    let bad = server("400 Bad Request", &problem("the body is not JSON"));
    let [unknown, offline] = ["404 Not Found", "409 Conflict"].map(|status| server(status, &problem(status)));
    let large = server("413 Payload Too Large", &problem("the body cannot be taken"));
    let broken = server("503 Service Unavailable", &problem("redis is away"));
    let nobody = "http://127.0.0.1:1".to_owned();

    let check = |expect: i32, arguments: &[&str], says: &str| {
        let output = telemill(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(expect), "{arguments:?}: {said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
        let results = !output.stdout.is_empty() && arguments.first() != Some(&"simulate");
        assert!(expect == 0 || !results, "{arguments:?}: results of a failure");
    };
    // 0: done.
    check(0, &["--help"], "");
    check(0, &["--version"], "");
    check(0, &["validate", TOPOLOGY], "");
    check(0, &["graph", TOPOLOGY], "");
    check(0, &["schema"], "");
    check(0, &["explain"], "");
    check(0, &["explain", "sink_gap"], "");
    check(0, &["devices", "--url", &fine], "0 online");
    check(0, &["alerts", "list", "--url", &fine], "");
    // 2: what was given is at fault, whatever the verb.
    check(2, &[], "Usage");
    for verb in ["run", "validate", "graph", "schema", "simulate", "devices", "command", "alerts", "explain"] {
        check(2, &[verb, "--no-such-flag"], "--no-such-flag");
    }
    check(2, &["no-such-verb"], "no-such-verb");
    for verb in ["run", "validate", "graph"] {
        check(2, &[verb], "required");
        check(2, &[verb, "no/such/file.yaml"], "error: cannot read no/such/file.yaml");
        check(2, &[verb, &directory], &format!("error: cannot read {directory}"));
        check(2, &[verb, &binary], &format!("error: cannot read {binary}"));
        check(2, &[verb, &flawed], "topology::missing_field");
    }
    check(2, &["validate", "no/such/file.yaml", &flawed], "topology::missing_field");
    check(2, &["run", TOPOLOGY, "--listen", "0.0.0.0:7400"], "not a loopback address");
    check(2, &["explain", "no::such_code"], "there is no code `no::such_code`");
    check(2, &["simulate", "--devices", "0"], "0 is not in");
    check(2, &["simulate", "--url", "nonsense"], "--url");
    for verb in [&["devices"][..], &["command", "d1", "{}"], &["alerts", "list"], &["alerts", "tail"]] {
        let at = |url: &'static str| [verb, &["--url", url]].concat();
        check(2, &at("nonsense"), "it is to be http://host[:port]");
        check(2, &at("https://127.0.0.1:7400"), "speaks no TLS");
        check(2, &at("http://"), "it is to be http://host[:port]");
    }
    check(2, &["command", "d1", "no json", "--url", &bad], "the body is not JSON (400)");
    check(2, &["command", "d1", "{}", "--url", &large], "the body cannot be taken (413)");
    // 1: it failed.
    for verb in
        [&["devices"][..], &["devices", "d1"], &["command", "d1", "{}"], &["alerts", "list"], &["alerts", "tail"]]
    {
        check(1, &[verb, &["--url", &nobody]].concat(), &format!("cannot reach {nobody}"));
        check(1, &[verb, &["--url", &unknown]].concat(), "404 Not Found (404)");
        check(1, &[verb, &["--url", &offline]].concat(), "409 Conflict (409)");
        check(1, &[verb, &["--url", &broken]].concat(), "redis is away (503)");
    }
    check(1, &["devices", "--url", &garbled], "the answer is not JSON");
    check(1, &["simulate", "--url", "mqtt://127.0.0.1:1", "--timeout", "100ms", "-o", "json"], "");
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_verb_ends_quietly_when_nobody_reads_what_it_prints() {
    let answers = server("200 OK", r#"[{"device_id":"d1"}]"#);
    let device = server("200 OK", r#"{"device_id":"d1","online":true,"state":null,"history":[]}"#);
    let verbs: &[(&[&str], i32)] = &[
        (&["schema"], 0),
        (&["explain"], 0),
        (&["explain", "expr::syntax"], 0),
        (&["graph", TOPOLOGY], 0),
        (&["validate", TOPOLOGY], 0),
        (&["validate", "-o", "json", TOPOLOGY], 0),
        (&["devices", "--url", &answers], 0),
        (&["devices", "-o", "json", "--url", &answers], 0),
        (&["devices", "d1", "--url", &device], 0),
        (&["command", "d1", "{}", "--url", &device], 0),
        (&["alerts", "list", "--url", &answers], 0),
        (&["validate", "no/such/file.yaml"], 2),
        (&["explain", "no::such_code"], 2),
    ];
    for (arguments, expect) in verbs {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut child = telemill(arguments).stdout(writer).spawn().unwrap();
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(*expect), "{arguments:?}: {said}");
        assert!(!said.contains("panicked") && !said.contains("Broken pipe"), "{arguments:?}: {said}");
        // And with nobody to hear of it either.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let outputs = (writer.try_clone().unwrap(), writer);
        let status = telemill(arguments).stdout(outputs.0).stderr(outputs.1).status().unwrap();
        assert_eq!(status.code(), Some(*expect), "{arguments:?} with both closed");
    }
}
