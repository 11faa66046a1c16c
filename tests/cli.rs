//! `telemill simulate` against a real broker: what it says it published is what a plain subscriber got.

#![allow(clippy::unwrap_used, reason = "whatever is missing in a test is a failure of it")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
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
