//! Who is there, and what is sent to them.

use serde_json::{Value, json};
use telemill_services::wait_until;

use crate::support::{Commands, DEADLINE, Publisher, Reader, Site, Telemill};

fn is_listed(telemill: &Telemill, device: &str) -> bool {
    let devices = telemill.http.get("/devices").json();
    devices.as_array().expect("a list").contains(&json!(device))
}

#[test]
fn a_hello_makes_online_silence_makes_offline_and_commands_follow() {
    let mut site = Site::new("presence");
    site.edit("offline_after: 60s", "offline_after: 5s");
    let telemill = Telemill::run(&site);
    let device = site.device(1);
    let command = |device: &str, body: &str| telemill.http.post(&format!("/devices/{device}/command"), body);
    let commands = Commands::subscribe(&site.mqtt, &format!("{}/+/commands", site.prefix()));
    let mut publisher = Publisher::connect(&site.mqtt);

    let unknown = command(&device, r#"{"command":"start"}"#);
    assert_eq!(unknown.status, 404, "{unknown:?}");
    assert!(unknown.json()["detail"].as_str().is_some_and(|detail| detail.contains(&device)));
    assert!(!is_listed(&telemill, &device));

    publisher.send(&site.mqtt_topic(&device, "hello"), "here I am");
    wait_until(DEADLINE, "the device to be online", || is_listed(&telemill, &device).then_some(()));

    let accepted = command(&device, r#"{"command":"start"}"#);
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let id = accepted.json()["command_id"].as_str().expect("an id").to_owned();
    let expected = format!(r#"{{"command_id":"{id}","command":"start"}}"#);
    assert_eq!(commands.next(), (site.mqtt_topic(&device, "commands"), expected));

    let broken = command(&device, r#"{"command":"#);
    assert_eq!(broken.status, 400, "{broken:?}");
    let detail = broken.json()["detail"].as_str().unwrap_or_default().to_owned();
    assert!(detail.contains("not JSON") && detail.contains("line 1"), "{detail}");

    wait_until(DEADLINE, "the device to be offline", || (!is_listed(&telemill, &device)).then_some(()));
    let offline = command(&device, r#"{"command":"start"}"#);
    assert_eq!(offline.status, 409, "{offline:?}");

    // With time to wait it is kept, and given to the device as soon as it is back.
    let waiting = telemill.http.post(&format!("/devices/{device}/command?ttl=10m"), r#"{"command":"update"}"#);
    assert_eq!(waiting.status, 202, "{waiting:?}");
    let reader = Reader::new(&site.kafka);
    wait_until(DEADLINE, "the command in the log", || (reader.count(&site.topic("commands")) == 2).then_some(()));
    publisher.send(&site.mqtt_topic(&device, "data"), r#"{"temperature":20}"#);
    let (topic, body) = commands.next();
    assert_eq!(topic, site.mqtt_topic(&device, "commands"));
    let body: Value = serde_json::from_str(&body).expect("a command is JSON");
    assert_eq!(body, json!({ "command_id": waiting.json()["command_id"], "command": "update" }));

    let shown = telemill.http.get(&format!("/api/v1/devices/{device}")).json();
    assert_eq!(shown["online"], true);
    telemill.drain();
}

#[test]
fn a_device_is_shown_with_its_state_and_the_history_that_was_asked_for() {
    let site = Site::new("device");
    let telemill = Telemill::run(&site);
    let device = site.device(1);
    let mut publisher = Publisher::connect(&site.mqtt);
    for n in 0..5 {
        publisher.send(&site.mqtt_topic(&device, "data"), format!(r#"{{"n":{n}}}"#));
    }
    let show = |query: &str| telemill.http.get(&format!("/api/v1/devices/{device}{query}"));
    let shown = wait_until(DEADLINE, "the last of five in the store", || {
        Some(show(""))
            .filter(|answer| answer.status == 200)
            .map(|answer| answer.json())
            .filter(|shown| shown["state"]["payload"]["n"] == 4)
    });
    let numbers = |shown: &Value| -> Vec<Value> {
        shown["history"].as_array().expect("a list").iter().map(|message| message["payload"]["n"].clone()).collect()
    };
    assert_eq!(numbers(&shown), [0, 1, 2, 3, 4]);
    assert_eq!(numbers(&show("?limit=2").json()), [3, 4]);
    let at = shown["state"]["timestamp"].as_u64().expect("seconds");
    let within = |from: u64, to: u64| numbers(&show(&format!("?from={from}&to={to}")).json());
    // The first ones may be of a second before.
    assert_eq!(within(at - 60, at), [0, 1, 2, 3, 4], "both ends are included");
    assert_eq!(within(at, at + 60).last(), Some(&json!(4)));
    assert_eq!(within(1, 2), [0; 0]);
    assert_eq!(numbers(&show(&format!("?from={}&limit=1", at - 60)).json()), [4]);
    assert_eq!((show("?limit=10000").status, show("?limit=10001").status), (200, 400));
    assert_eq!(show("?from=2&to=1").status, 400);
    let unfit = show("?limit=many");
    assert_eq!(unfit.status, 400);
    assert!(unfit.body.contains("`limit` is `many`"), "{unfit:?}");
    assert_eq!(telemill.http.get(&format!("/api/v1/devices/{}", site.device(2))).status, 404);
    telemill.drain();
}

#[test]
fn a_device_that_has_left_memory_is_known_and_offline() {
    let mut site = Site::new("passive");
    site.edit("offline_after: 60s", "offline_after: 1s");
    site.edit("passivate_after: 15m", "passivate_after: 1s");
    // A session that a rule waits for, or one of an active alert, stays in memory.
    site.edit("absent_for: 10m", "expr: payload.temperature > 1000.0");
    let mut telemill = Telemill::run(&site);
    let device = site.device(1);
    // Nothing but a hello: no store knows it.
    Publisher::connect(&site.mqtt).send(&site.mqtt_topic(&device, "hello"), "here I am");
    let shown = |telemill: &Telemill| telemill.http.get(&format!("/api/v1/devices/{device}"));
    // Online it is for a second only, which may pass between two looks.
    wait_until(DEADLINE, "the device to be known", || (shown(&telemill).status == 200).then_some(()));
    let left = |telemill: &Telemill| {
        let metrics = telemill.http.get("/metrics").body;
        metrics.lines().any(|line| line.starts_with("telemill_sessions_active{") && line.ends_with(" 0"))
    };
    wait_until(DEADLINE, "its session to leave memory", || left(&telemill).then_some(()));
    let command = |telemill: &Telemill, query: &str| {
        telemill.http.post(&format!("/devices/{device}/command{query}"), r#"{"command":"start"}"#).status
    };
    let is_known = |telemill: &Telemill| {
        // After a start its shard is opened when the partition comes, which readiness does not wait for.
        wait_until(DEADLINE, "the device to be known and offline", || {
            let shown = shown(telemill);
            (shown.status == 200 && shown.json()["online"] == false).then_some(())
        });
        assert_eq!((command(telemill, ""), command(telemill, "?ttl=10m")), (409, 202));
    };
    is_known(&telemill);
    telemill.terminate();
    assert_eq!(telemill.exit_code(DEADLINE), 0);
    is_known(&Telemill::run(&site));
}
