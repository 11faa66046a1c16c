//! The quick start: one process, its own endpoint, log and store, and a simulated fleet over real MQTT.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;
use telemill_services::wait_until;

use crate::support::{DEADLINE, Local, LocalRecord, Numbers, Telemill};

/// What is promised: so long after it was started the whole fleet is there.
const THERE_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn a_fleet_is_there_and_is_there_again_after_a_restart() {
    let mut quick_start = Local::new("quickstart");
    let began = Instant::now();
    let telemill = quick_start.start();
    everybody_is_there(&telemill, began);
    let stream = telemill.http.events("/api/v1/alerts/stream", Some("beginning"));
    let (_, fired) =
        std::iter::repeat_with(|| stream.next()).find(|(_, alert)| alert["state"] == "firing").expect("an alert");
    assert_eq!((&fired["alertname"], &fired["device_id"]), (&"DeviceOverheating".into(), &"device-100".into()));
    it_is_printed(&telemill, &fired);
    let alerts = wait_until(DEADLINE, "the alert on the board", || {
        let alerts = telemill.http.get("/api/v1/alerts").json();
        (alerts[0]["state"] == "firing").then_some(alerts)
    });
    let before: BTreeMap<String, Numbers> =
        (1..=100).map(device).map(|id| (id.clone(), telemill.history(&id))).collect();
    ctrl_c(telemill);

    // What it left: of each device all that it had shown, and no gap or double behind it.
    let (data, transitions) = (quick_start.log("iot-data"), quick_start.log("alerts"));
    let numbers: BTreeMap<String, Numbers> = data.iter().map(|(id, records)| (id.clone(), numbers(records))).collect();
    assert!(numbers.keys().eq(before.keys()));
    for (id, numbers) in &numbers {
        assert!(numbers.starts_with(&before[id]), "{id}: {:?} was shown, {numbers:?} is left", before[id]);
        assert!(numbers.iter().map(|(number, _)| *number).eq(1..=numbers.len() as u64), "{id}: {numbers:?}");
    }

    // Nobody publishes now: it is to be exactly as it was.
    quick_start.edit("simulate:", "# simulate:");
    let telemill = quick_start.run();
    for (id, records) in &data {
        let shown = wait_until(DEADLINE, &format!("the last message of {id}"), || {
            let shown = telemill.device(id);
            (shown["history"].as_array().map(Vec::len) >= Some(records.len())).then_some(shown)
        });
        let last = &records.last().expect("each has published").message;
        assert_eq!(telemill.history(id), numbers[id]);
        assert_eq!((&shown["state"]["payload"], &shown["state"]["timestamp"]), (&last["payload"], &last["timestamp"]));
    }
    wait_until(DEADLINE, "the alert on the board", || {
        (telemill.http.get("/api/v1/alerts").json() == alerts).then_some(())
    });
    ctrl_c(telemill);
    assert_eq!((quick_start.log("iot-data"), quick_start.log("alerts")), (data, transitions));

    // The new fleet begins cool: the alert that was firing ends, and none but that one.
    quick_start.edit("# simulate:", "simulate:");
    let telemill = quick_start.run();
    let stream = telemill.http.events("/api/v1/alerts/stream", Some("beginning"));
    let mut transitions = Vec::new();
    while transitions.last().is_none_or(|(state, _)| state != "resolved") {
        let (_, alert) = stream.next();
        assert_eq!((&alert["device_id"], &alert["fingerprint"]), (&fired["device_id"], &fired["fingerprint"]));
        transitions.push((alert["state"].as_str().unwrap_or_default().to_owned(), alert["sequence"].as_u64()));
    }
    let expect = [("pending", 1), ("firing", 2), ("resolved", 3)];
    assert_eq!(transitions, expect.map(|(state, sequence)| (state.to_owned(), Some(sequence))));
    // It counts from 1 again, behind what the first had sent.
    let first = &numbers["device-7"];
    let all = wait_until(DEADLINE, "the history of both fleets", || {
        Some(telemill.history("device-7")).filter(|all| all.len() > first.len() + 2)
    });
    let (old, new) = all.split_at(first.len());
    assert_eq!(old, first);
    assert!(new.iter().map(|(number, _)| *number).eq(1..=new.len() as u64), "{new:?}");
    ctrl_c(telemill);
}

fn device(number: u32) -> String {
    format!("device-{number}")
}

fn numbers(records: &[LocalRecord]) -> Numbers {
    records.iter().map(|record| (record.seq(), record.header("event-id").to_owned())).collect()
}

/// Waits until the fleet is online, each device with its last state and a history; in time since it was started.
fn everybody_is_there(telemill: &Telemill, began: Instant) {
    let mut missing: Vec<String> = (1..=100).map(device).collect();
    wait_until(THERE_WITHIN.saturating_sub(began.elapsed()), "a hundred devices with state and history", || {
        let online = telemill.http.get("/devices").json();
        if online.as_array().map(Vec::len) != Some(100) {
            return None;
        }
        missing.retain(|id| {
            let shown = telemill.device(id);
            let has_history = shown["history"].as_array().is_some_and(|history| !history.is_empty());
            shown["online"] != true || shown["state"]["payload"]["temperature"].is_null() || !has_history
        });
        missing.is_empty().then_some(())
    });
    eprintln!("everybody was there after {:?}", began.elapsed());
}

/// Standard output is no terminal here: it says where to look, and the alert, in plain lines.
fn it_is_printed(telemill: &Telemill, fired: &Value) {
    let line = format!("firing   DeviceOverheating device-100 at {}", fired["value"]);
    let printed = wait_until(DEADLINE, &format!("`{line}` on standard output"), || {
        Some(telemill.printed()).filter(|printed| printed.contains(&line))
    });
    let url = &telemill.http.url;
    let expect = [
        "quickstart runs, and 100 simulated devices publish to it".to_owned(),
        format!("  devices online   {url}/devices"),
        format!("  one device       {url}/api/v1/devices/{{id}}"),
        format!("  alerts, live     {url}/api/v1/alerts/stream"),
        format!("  metrics          {url}/metrics"),
        "  Ctrl-C drains and stops".to_owned(),
    ];
    assert_eq!(printed[..expect.len()], expect);
    let plain = |lines: &str| !lines.contains(['\u{1b}', '\r']);
    assert!(plain(&printed.join("\n")) && plain(&telemill.log()), "{printed:?}");
}

/// Drains, and says so.
fn ctrl_c(mut telemill: Telemill) {
    telemill.interrupt();
    assert_eq!(telemill.exit_code(DEADLINE), 0);
    assert_eq!(telemill.logged("drained").len(), 1);
}
