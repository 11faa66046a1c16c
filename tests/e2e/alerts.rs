//! Alerts: what fires, when it ends, and how it is followed.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use serde_json::Value;
use telemill_services::wait_until;

use crate::support::{DEADLINE, Publisher, Site, Telemill};

/// A site whose rules fire within a test's time.
fn site(test: &str) -> Site {
    let mut site = Site::new(test);
    site.edit("for: 30s", "for: 2s");
    site.edit("absent_for: 10m", "absent_for: 4s");
    site
}

fn active(telemill: &Telemill, device: &str) -> Vec<(String, String)> {
    let alerts = telemill.http.get("/api/v1/alerts").json();
    let of_device = |alert: &&Value| alert["device_id"] == device;
    let text = |alert: &Value, key: &str| alert[key].as_str().unwrap_or_default().to_owned();
    alerts
        .as_array()
        .expect("a list")
        .iter()
        .filter(of_device)
        .map(|a| (text(a, "alertname"), text(a, "state")))
        .collect()
}

#[test]
fn a_rule_fires_after_its_time_and_resolves_by_its_clear_condition() {
    let site = site("alerts");
    let telemill = Telemill::run(&site);
    let events = telemill.http.events("/api/v1/alerts/stream", None);
    let (device, other) = (site.device(1), site.device(2));
    let topic = site.mqtt_topic(&device, "data");
    let mut publisher = Publisher::connect(&site.mqtt);

    // Between the two conditions nothing changes: neither does an alert begin there, nor does it end.
    publisher.send(&site.mqtt_topic(&other, "data"), r#"{"temperature":78}"#);
    publisher.send(&topic, r#"{"temperature":81}"#);
    let (_, pending) = events.next();
    assert_eq!(
        (&pending["state"], &pending["alertname"]),
        (&"pending".into(), &"DeviceOverheating".into()),
        "{pending}"
    );
    // Nothing more is needed for it to fire: time alone does.
    let began = Instant::now();
    let (last, firing) = events.next();
    assert!(began.elapsed() < Duration::from_secs(10), "a rule of 2 s fired after {:?}", began.elapsed());
    assert_eq!(firing["state"], "firing");
    assert_eq!(firing["device_id"], device.as_str());
    assert_eq!(firing["sequence"].as_u64(), pending["sequence"].as_u64().map(|n| n + 1));
    assert_eq!(firing["fingerprint"], pending["fingerprint"]);
    assert_eq!(firing["labels"]["severity"], "critical");
    assert_eq!(firing["annotations"]["summary"], format!("{device} at 81 °C"));
    let held = firing["log_time"].as_u64().zip(pending["log_time"].as_u64()).map(|(end, start)| end - start);
    assert!(
        // Time comes in marks, about one a second.
        held.is_some_and(|ms| (2000..=3200).contains(&ms)),
        "a rule of 2 s was held for {held:?} ms of the log's own time"
    );
    wait_until(DEADLINE, "the alert on the board", || {
        active(&telemill, &device).contains(&("DeviceOverheating".into(), "firing".into())).then_some(())
    });

    publisher.send(&topic, r#"{"temperature":76}"#);
    publisher.send(&topic, r#"{"pressure":1}"#);
    publisher.send(&topic, r#"{"temperature":74}"#);
    let resolved = loop {
        let (_, event) = events.next();
        if event["alertname"] == "DeviceOverheating" {
            break event;
        }
    };
    assert_eq!((&resolved["state"], &resolved["fingerprint"]), (&"resolved".into(), &firing["fingerprint"]));

    // Whoever was away reads on from what he had last.
    let behind = telemill.http.events("/api/v1/alerts/stream", Some(&last));
    let replayed = loop {
        let (_, event) = behind.next();
        assert!(
            event["sequence"].as_u64() > firing["sequence"].as_u64() || event["fingerprint"] != firing["fingerprint"]
        );
        if event["alertname"] == "DeviceOverheating" {
            break event;
        }
    };
    assert_eq!(replayed, resolved);
    telemill.drain();
}

#[test]
fn a_device_that_falls_silent_is_told_of_on_the_command_line() {
    let site = site("absent");
    let telemill = Telemill::run(&site);
    let mut tail = Command::new(env!("CARGO_BIN_EXE_telemill"))
        .args(["alerts", "tail", "--url", &telemill.http.url])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it is built");
    let lines = BufReader::new(tail.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
    let (heard, said) = sync_channel(1000);
    std::thread::spawn(move || lines.for_each(|line| drop(heard.send(line))));
    let device = site.device(1);
    let topic = site.mqtt_topic(&device, "data");
    let mut publisher = Publisher::connect(&site.mqtt);
    publisher.send(&topic, r#"{"temperature":20}"#);
    // It tells what happens once it has subscribed, and nobody says when that is: so a device a second falls silent.
    let mut others = 10..;
    let silent = wait_until(DEADLINE, "a silent device on the command line", || {
        let other = site.device(others.next().expect("it has no end"));
        publisher.send(&site.mqtt_topic(&other, "data"), "{}");
        let line = said.recv_timeout(Duration::from_secs(1)).ok();
        line.filter(|line: &String| line.starts_with("firing") && line.contains("DeviceSilent"))
    });
    assert!(silent.contains(site.prefix()), "{silent}");
    wait_until(DEADLINE, "the silent device on the board", || {
        active(&telemill, &device).contains(&("DeviceSilent".into(), "firing".into())).then_some(())
    });
    publisher.send(&topic, r#"{"temperature":20}"#);
    wait_until(DEADLINE, "its end", || active(&telemill, &device).is_empty().then_some(()));
    tail.kill().expect("it is ours");
    tail.wait().expect("it is ours");
    telemill.drain();
}
