//! The quick start: one process, its own endpoint, log and store, and a simulated fleet over real MQTT.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use telemill_services::{unique_name, wait_until};

use crate::support::{DEADLINE, Telemill};

/// The shipped topology in a directory of the test's own.
struct QuickStart {
    data: PathBuf,
}

impl QuickStart {
    fn new() -> QuickStart {
        QuickStart { data: Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique_name("quickstart")) }
    }

    fn run(&self) -> Telemill {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies/quickstart.yaml");
        let data = self.data.to_str().expect("the build directory's name is text");
        let variables = [("TELEMILL_DATA", data), ("MQTT_LISTEN", "127.0.0.1:0")];
        let mut telemill = Telemill::start_file(&file, "quickstart", &variables);
        telemill.until_ready();
        telemill
    }
}

impl Drop for QuickStart {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.data);
    }
}

fn online(telemill: &Telemill) -> usize {
    telemill.http.get("/devices").json().as_array().map_or(0, Vec::len)
}

/// The running numbers in a device's history, and the ids of the messages.
fn history(telemill: &Telemill, device: &str) -> (Vec<u64>, HashSet<String>) {
    let device = telemill.http.get(&format!("/api/v1/devices/{device}?limit=10000")).json();
    let messages = device["history"].as_array().cloned().unwrap_or_default();
    let numbers = messages.iter().filter_map(|message| message["payload"]["seq"].as_u64()).collect();
    let ids = messages.iter().filter_map(|message| message["event_id"].as_str().map(str::to_owned)).collect();
    (numbers, ids)
}

#[test]
fn a_fleet_is_there_and_is_there_again_after_a_restart() {
    let quick_start = QuickStart::new();
    let telemill = quick_start.run();
    let stream = telemill.http.events("/api/v1/alerts/stream", Some("beginning"));
    wait_until(DEADLINE, "a hundred devices online", || (online(&telemill) == 100).then_some(()));
    let (_, fired) =
        std::iter::repeat_with(|| stream.next()).find(|(_, alert)| alert["state"] == "firing").expect("an alert");
    assert_eq!((&fired["alertname"], &fired["device_id"]), (&"DeviceOverheating".into(), &"device-100".into()));
    wait_until(DEADLINE, "some history", || (history(&telemill, "device-7").0.len() >= 3).then_some(()));
    telemill.drain();

    let telemill = quick_start.run();
    // The new fleet begins cool: the alert that was firing ends, and none but that one.
    let stream = telemill.http.events("/api/v1/alerts/stream", Some("beginning"));
    let mut transitions = Vec::new();
    while transitions.last().is_none_or(|(state, _)| state != "resolved") {
        let (_, alert) = stream.next();
        if alert["device_id"] == "device-100" {
            assert_eq!(alert["fingerprint"], fired["fingerprint"]);
            transitions.push((alert["state"].as_str().unwrap_or_default().to_owned(), alert["sequence"].as_u64()));
        }
    }
    let expect = [("pending", 1), ("firing", 2), ("resolved", 3)];
    assert_eq!(transitions, expect.map(|(state, sequence)| (state.to_owned(), Some(sequence))));
    // The new fleet counts from 1 again, behind what the first had sent.
    let (numbers, ids) = wait_until(DEADLINE, "the history of both fleets", || {
        let (numbers, ids) = history(&telemill, "device-7");
        (numbers.iter().filter(|number| **number == 1).count() == 2).then_some((numbers, ids))
    });
    assert_eq!(ids.len(), numbers.len(), "no message is there twice");
    let second = numbers.iter().rposition(|number| *number == 1).expect("the second fleet has begun");
    let (first, second) = numbers.split_at(second);
    assert!(first.iter().copied().eq(1..=first.len() as u64), "{first:?}");
    assert!(second.iter().copied().eq(1..=second.len() as u64), "{second:?}");
    telemill.drain();
}
