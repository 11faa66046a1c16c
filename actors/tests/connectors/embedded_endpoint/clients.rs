//! The clients that devices really use: mosquitto, paho and rumqttc, each in both versions.

use std::time::Duration;

use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use telemill_engine::sink::Submitted;

use super::fixture::{Endpoint, Site};
use super::program::Program;
use crate::mqtt_support::soon;

const VERSIONS: [&str; 2] = ["mqttv311", "mqttv5"];

fn mosquitto(program: &str, port: u16, arguments: &[&str]) -> Program {
    Program::start(program, &[&["-h", "127.0.0.1", "-p", &port.to_string()], arguments].concat())
}

async fn deliver(endpoint: &mut Endpoint, device: &str, payload: &str) {
    loop {
        match endpoint.command(device, payload).await {
            Submitted::Delivered => return,
            // Its SUBACK may be there before its SUBSCRIBE here is known to the test.
            Submitted::Rejected { records, .. } if records[0].reason.0 == "not_subscribed" => {
                tokio::task::yield_now().await;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn mosquitto_publishes_at_both_qualities_and_retained() {
    let site = Site::new();
    let endpoint = site.start().await;
    let mut expect = 0;
    for version in VERSIONS {
        for extra in [&["-q", "0"][..], &["-q", "1"], &["-q", "1", "-r"], &["-q", "1", "-i", "d1"]] {
            let arguments = [&["-V", version, "-t", "devices/d1/data", "-m", r#"{"t":1}"#], extra].concat();
            let (success, printed) = mosquitto("mosquitto_pub", endpoint.port, &arguments).ends().await;
            assert!(success, "{version} {extra:?}: {printed}");
            expect += 1;
            let record = endpoint.records(expect).await.pop().unwrap();
            assert_eq!((record.device.as_str(), &record.payload[..]), ("d1", &br#"{"t":1}"#[..]));
        }
        // What cannot be published at QoS 2 does not look as if it had been.
        let arguments = ["-V", version, "-t", "devices/d1/data", "-m", "1", "-q", "2"];
        let (success, printed) = mosquitto("mosquitto_pub", endpoint.port, &arguments).ends().await;
        assert!(!success || !printed.is_empty(), "{version}: {printed}");
    }
    endpoint.records(expect).await;
    endpoint.close().await;
}

#[tokio::test]
async fn mosquitto_gets_its_commands() {
    let site = Site::new();
    let mut endpoint = site.start().await;
    for version in VERSIONS {
        let arguments =
            ["-V", version, "-i", version, "-t", &format!("devices/{version}/commands"), "-q", "1", "-C", "2"];
        let child = mosquitto("mosquitto_sub", endpoint.port, &arguments);
        deliver(&mut endpoint, version, "first").await;
        deliver(&mut endpoint, version, "second").await;
        assert_eq!(child.ends().await, (true, "first\nsecond\n".to_owned()));
    }
    endpoint.close().await;
}

#[tokio::test]
async fn paho_publishes_in_order_and_gets_its_commands() {
    let site = Site::new();
    let mut endpoint = site.start().await;
    let mut before = 0;
    for version in ["4", "5"] {
        let device = format!("paho{version}");
        let mut paho =
            Program::script("paho_client.py", &["127.0.0.1", &endpoint.port.to_string(), version, &device, "500"]);
        assert_eq!(paho.line().await, "ready");
        let records = endpoint.records(before + 500).await;
        let sent: Vec<_> = records[before..].iter().map(|r| String::from_utf8_lossy(&r.payload).into_owned()).collect();
        assert_eq!(sent, (0..500).map(|n| format!(r#"{{"n":{n}}}"#)).collect::<Vec<_>>());
        assert!(records[before..].iter().all(|record| record.device.as_str() == device));
        deliver(&mut endpoint, &device, r#"{"on":true}"#).await;
        assert_eq!(paho.line().await, format!(r#"devices/{device}/commands 1 {{"on":true}}"#));
        assert_eq!(paho.ends().await, (true, String::new()));
        before += 500;
    }
    endpoint.close().await;
}

#[tokio::test]
async fn rumqttc_of_version_4_publishes_and_gets_its_commands() {
    let site = Site::new();
    let mut endpoint = site.start().await;
    let mut options = MqttOptions::new("d1", "127.0.0.1", endpoint.port);
    options.set_keep_alive(Duration::from_secs(5));
    let (client, mut events) = AsyncClient::new(options, 100);
    client.subscribe("devices/d1/commands", QoS::AtLeastOnce).await.unwrap();
    let sender = client.clone();
    let sending = tokio::spawn(async move {
        for number in 0..500 {
            sender.publish("devices/d1/data", QoS::AtLeastOnce, false, number.to_string()).await.unwrap();
        }
    });
    let mut acknowledged = 0;
    soon("500 PUBACKs", async {
        while acknowledged < 500 {
            acknowledged += usize::from(matches!(events.poll().await.unwrap(), Event::Incoming(Packet::PubAck(_))));
        }
    })
    .await;
    sending.await.unwrap();
    assert_eq!(endpoint.payloads(500).await, (0..500).map(|n| n.to_string()).collect::<Vec<_>>());
    let polling = tokio::spawn(async move {
        loop {
            if let Event::Incoming(Packet::Publish(publish)) = events.poll().await.unwrap() {
                return (publish, events);
            }
        }
    });
    deliver_while(&mut endpoint, "d1", "go", polling, |publish| {
        assert_eq!((&publish.payload[..], publish.qos), (&b"go"[..], QoS::AtLeastOnce));
    })
    .await;
    endpoint.close().await;
}

#[tokio::test]
async fn rumqttc_of_version_5_publishes_and_gets_its_commands() {
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::Packet;
    use rumqttc::v5::{AsyncClient, Event, MqttOptions};

    let site = Site::new();
    let mut endpoint = site.start().await;
    let mut options = MqttOptions::new("d1", "127.0.0.1", endpoint.port);
    options.set_keep_alive(Duration::from_secs(5));
    let (client, mut events) = AsyncClient::new(options, 100);
    client.subscribe("devices/d1/commands", QoS::AtLeastOnce).await.unwrap();
    let sender = client.clone();
    let sending = tokio::spawn(async move {
        for number in 0..500 {
            sender.publish("devices/d1/data", QoS::AtLeastOnce, false, number.to_string()).await.unwrap();
        }
    });
    let mut acknowledged = 0;
    soon("500 PUBACKs", async {
        while acknowledged < 500 {
            acknowledged += usize::from(matches!(events.poll().await.unwrap(), Event::Incoming(Packet::PubAck(_))));
        }
    })
    .await;
    sending.await.unwrap();
    assert_eq!(endpoint.payloads(500).await, (0..500).map(|n| n.to_string()).collect::<Vec<_>>());
    let polling = tokio::spawn(async move {
        loop {
            if let Event::Incoming(Packet::Publish(publish)) = events.poll().await.unwrap() {
                return (publish, events);
            }
        }
    });
    deliver_while(&mut endpoint, "d1", "go", polling, |publish| {
        assert_eq!((&publish.payload[..], publish.qos), (&b"go"[..], QoS::AtLeastOnce));
    })
    .await;
    endpoint.close().await;
}

/// Submits a command while a client polls for it; the client acknowledges it at its next poll.
async fn deliver_while<P, E>(
    endpoint: &mut Endpoint,
    device: &str,
    payload: &str,
    polling: tokio::task::JoinHandle<(P, E)>,
    check: impl FnOnce(P),
) where
    E: Poll + Send + 'static,
{
    let acknowledging = async {
        let (publish, mut events) = polling.await.unwrap();
        check(publish);
        let poll = tokio::spawn(async move { events.poll_on().await });
        std::future::pending::<()>().await;
        drop(poll);
    };
    tokio::select! {
        () = deliver(endpoint, device, payload) => {}
        () = acknowledging => {}
    }
}

/// An event loop that is polled on.
trait Poll {
    fn poll_on(&mut self) -> impl Future<Output = ()> + Send;
}

impl Poll for rumqttc::EventLoop {
    async fn poll_on(&mut self) {
        while self.poll().await.is_ok() {}
    }
}

impl Poll for rumqttc::v5::EventLoop {
    async fn poll_on(&mut self) {
        while self.poll().await.is_ok() {}
    }
}
