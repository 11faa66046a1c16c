//! Devices on the embedded endpoint: commands reach their subscriptions, and a will says that they are gone.

use std::time::{Duration, Instant};

use serde_json::json;
use telemill_services::wait_until;

use crate::support::{DEADLINE, Local, Mosquitto, Publisher, Telemill};

fn until_online(telemill: &Telemill, device: &str, online: bool) {
    wait_until(DEADLINE, &format!("{device} online: {online}"), || {
        let devices = telemill.http.get("/devices").json();
        (devices.as_array().expect("a list").contains(&json!(device)) == online).then_some(())
    });
}

/// Posts a command that is accepted; what the device is to get.
fn command(telemill: &Telemill, device: &str, query: &str, name: &str) -> String {
    let accepted = telemill.http.post(&format!("/devices/{device}/command{query}"), &format!(r#"{{"do":"{name}"}}"#));
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let id = accepted.json()["command_id"].as_str().expect("an id").to_owned();
    format!(r#"1 devices/{device}/commands {{"command_id":"{id}","do":"{name}"}}"#)
}

/// A client of `device` that subscribes to its commands at QoS 1, and prints each with its QoS and topic.
fn subscriber(mqtt: &str, device: &str, more: &[&str]) -> Mosquitto {
    let topic = format!("devices/{device}/commands");
    let arguments = ["-i", device, "-t", &topic, "-q", "1", "-F", "%q %t %p"];
    Mosquitto::start("mosquitto_sub", mqtt, &[&arguments[..], more].concat())
}

#[test]
fn commands_reach_a_devices_subscription_at_qos_1_now_and_when_it_is_back() {
    let local = Local::without_fleet("embedded-commands");
    let mut telemill = local.run();
    let unknown = telemill.http.post("/devices/d1/command", r#"{"do":"nothing"}"#);
    assert_eq!(unknown.status, 404, "{unknown:?}");
    let of_a_page = telemill.http.post_from("http://elsewhere.example", "/devices/d1/command", r#"{"do":"nothing"}"#);
    assert_eq!(of_a_page.status, 403, "{of_a_page:?}");

    // Subscribes and leaves a session that is kept: for an hour, in the terms of MQTT 5.
    let kept = ["-c", "-x", "3600"];
    assert_eq!(subscriber(&telemill.mqtt(), "d1", &[&kept[..], &["-E"]].concat()).ends(), (true, String::new()));
    Publisher::connect(&telemill.mqtt()).send("devices/d1/hello", "here I am");
    until_online(&telemill, "d1", true);
    let first = command(&telemill, "d1", "", "first");
    // The session has it on disk, over a restart too.
    wait_until(DEADLINE, "the command in the session", || {
        (telemill.ledger("sessions.commands")["forwarded"] == 1).then_some(())
    });
    telemill.interrupt();
    assert_eq!(telemill.exit_code(DEADLINE), 0);
    let telemill = local.run();
    until_online(&telemill, "d1", true);
    let device = subscriber(&telemill.mqtt(), "d1", &[&kept[..], &["-C", "2"]].concat());
    let second = command(&telemill, "d1", "?ttl=10m", "second");
    assert_eq!(device.ends(), (true, format!("{first}\n{second}\n")));
    telemill.ledgers_balance();
    telemill.drain();
    assert!(local.log("iot-data-dlq").is_empty(), "a command is a dead letter");
}

#[test]
fn a_will_makes_a_device_offline_at_once() {
    let local = Local::without_fleet("embedded-will");
    let telemill = local.run();
    let mqtt = telemill.mqtt();
    let will = ["--will-topic", "devices/d2/hello", "--will-payload", "gone", "--will-qos", "1"];
    let device = subscriber(&mqtt, "d2", &will);
    let mut publisher = Publisher::connect(&mqtt);
    for device in ["d1", "d2"] {
        publisher.send(&format!("devices/{device}/hello"), "here I am");
        until_online(&telemill, device, true);
    }
    wait_until(DEADLINE, "both connections", || {
        (telemill.gauge("telemill_mqtt_connections") == Some(2.0)).then_some(())
    });
    let began = Instant::now();
    // Its connection ends without a farewell.
    drop(device);
    until_online(&telemill, "d2", false);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(30), "it may have been its silence (offline_after: 60s): {took:?}");
    until_online(&telemill, "d1", true);
    let offline = telemill.http.post("/devices/d2/command", r#"{"do":"nothing"}"#);
    assert_eq!(offline.status, 409, "{offline:?}");
    assert_eq!(telemill.device("d2")["online"], false);

    publisher.send("devices/d2/hello", "back");
    until_online(&telemill, "d2", true);
    telemill.drain();
}
