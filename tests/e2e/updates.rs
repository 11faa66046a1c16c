//! What a device sends is heard at the API as it is written to the store, and can be gone on from.

use crate::support::{Local, Site, Telemill, paho};

#[test]
fn a_devices_updates_are_streamed_and_resumed() {
    let site = Site::new("updates");
    let telemill = Telemill::run(&site);
    let topic = |device: &str| site.mqtt_topic(device, "data");
    streamed_and_resumed(telemill, &site.mqtt, topic, &site.device(1), &site.device(2));
}

#[test]
fn a_devices_updates_are_streamed_and_resumed_by_the_embedded_store() {
    let local = Local::without_fleet("local-updates");
    let telemill = local.run();
    let mqtt = telemill.mqtt();
    streamed_and_resumed(telemill, &mqtt, |device| format!("devices/{device}/data"), "d1", "d2");
}

fn streamed_and_resumed(telemill: Telemill, mqtt: &str, topic: impl Fn(&str) -> String, device: &str, other: &str) {
    let path = format!("/api/v1/devices/{device}/updates");
    let events = telemill.http.events(&path, None);
    let send = |device: &str, numbers: std::ops::Range<usize>| {
        paho(mqtt, numbers.map(|n| (topic(device), format!("{{\"n\":{n}}}"))));
    };
    send(other, 0..1);
    send(device, 0..3);
    let heard: Vec<_> = (0..3).map(|_| events.next()).collect();
    for (n, (id, message)) in heard.iter().enumerate() {
        assert_eq!(message["device_id"], *device);
        assert_eq!(message["payload"]["n"], n);
        assert_eq!(message["event_id"], **id);
    }
    let again = telemill.http.events(&path, Some(&heard[0].0));
    send(device, 3..4);
    let numbers = |(_, message): (String, serde_json::Value)| message["payload"]["n"].as_u64();
    assert_eq!((0..3).map(|_| numbers(again.next())).collect::<Vec<_>>(), [Some(1), Some(2), Some(3)]);
    assert_eq!(numbers(events.next()), Some(3));

    let refused = telemill.http.get("/api/v1/devices/no!/updates");
    assert_eq!(refused.status, 400, "{refused:?}");
    drop((events, again));
    telemill.drain();
}
