//! Commands, on their way out by the same connection.

use telemill_engine::clock::Clock;
use telemill_engine::record::{EventId, Kind, Record};
use ulid::Ulid;

use super::device::Version;
use super::{Harness, connected, serving};
use crate::mqtt_support::deliver;

const EACH: usize = 25;

fn command(device: &str, number: usize) -> Record {
    let id = EventId(Ulid::from_parts(1, number as u128));
    let payload = format!(r#"{{ "n":{number} }}"#);
    Record::new(id, device.parse().unwrap(), Kind::Command, payload.into(), Clock::system().now())
}

/// On the topic of its commands a device gets its own, byte for byte, once and in order, and nobody else's.
pub(crate) async fn a_command_reaches_the_subscription_of_its_device_alone<H: Harness>() {
    let (harness, _ingress) = serving::<H>().await;
    let mut devices = Vec::new();
    for (name, version) in [("d1", Version::V4), ("d2", Version::V5)] {
        let mut device = connected(&harness, name, version).await;
        device.subscribe(&harness.topic(name, "commands")).await;
        devices.push((name, device));
    }
    let mut sink = harness.commands().await;
    let records = (0..2 * EACH).map(|number| command(devices[number % 2].0, number)).collect();
    deliver(&mut sink, records).await;
    for (which, (name, device)) in devices.iter_mut().enumerate() {
        let topic = harness.topic(name, "commands");
        let expected: Vec<_> = (0..EACH).map(|n| format!(r#"{topic} {{ "n":{} }}"#, 2 * n + which)).collect();
        assert_eq!(device.commands(EACH).await, expected);
    }
}
