//! What a router writes, byte for byte.

use bytes::Bytes;
use telemill_engine::record::{Kind, Origin};
use telemill_engine::sink::Sink;
use telemill_engine::testing::record;
use ulid::Ulid;

use super::{Routed, single};
use crate::kafka_support::{Site, batch, delivered, of_kind, partition_of};

const FIRST_ID: &str = "01HF7YAT010000000000000001";

#[tokio::test]
async fn a_record_stands_in_the_log_as_the_format_says() {
    let routed = Routed::new(12);
    let mut router = routed.router().await;
    let mut data = record("Plant.7:line_2-A", 1);
    data.payload = Bytes::from_static(br#"{"temperature": 21.50,"x":"\u00e4"}"#);
    data.origin = Some(Origin {
        slot: 0,
        slot_session: Ulid::from_parts(1, 2),
        delivery: 41,
        packet_id: 65_535,
        payload_hash: 0xab,
    });
    data.traceparent = Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into());
    let mut hello = of_kind(record("d1", 2), "hello");
    hello.payload = Bytes::new();
    delivered(router.submit(batch(vec![data, hello])).await).await;

    let written = routed.site.read(&routed.data);
    let [message] = written.as_slice() else { panic!("{written:?}") };
    assert_eq!(message.key.as_deref(), Some("Plant.7:line_2-A"));
    assert_eq!(message.partition, partition_of("Plant.7:line_2-A", 12));
    assert_eq!(
        message.text(),
        format!(
            r#"{{"device_id":"Plant.7:line_2-A","payload":{{"temperature": 21.50,"x":"\u00e4"}},"timestamp":1700000000,"event_id":"{FIRST_ID}"}}"#
        )
    );
    let headers: Vec<_> = message.headers.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(
        headers,
        [
            ("event-id", FIRST_ID),
            ("received-at-ms", "1700000000001"),
            ("kind", "data"),
            ("slot", "0"),
            ("slot-session", "00000000010000000000000002"),
            ("delivery", "41"),
            ("packet-id", "65535"),
            ("payload-hash", "00000000000000ab"),
            ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ]
    );

    let written = routed.site.read(&routed.hello);
    assert_eq!(written[0].json()["payload"], serde_json::Value::Null);
    assert_eq!(written[0].header("kind"), Some("hello"));
    assert_eq!(written[0].headers.len(), 3);
}

#[tokio::test]
async fn a_message_that_is_there_is_written_as_it_is() {
    let mut site = Site::shared();
    let (mut router, topic) = single(&mut site, "as-is", 1).await;
    let mut command = of_kind(record("d1", 1), "command");
    let message = r#"{"device_id":"d1","payload":{},"timestamp":1,"event_id":"x","expires_at":null}"#;
    command.message = Some(Bytes::from_static(message.as_bytes()));
    let mut alert = record("d1", 2);
    alert.kind = Kind::Alert;
    alert.payload = Bytes::from_static(br#"{"v":1,"alertname":"Hot"}"#);
    delivered(router.submit(batch(vec![command, alert])).await).await;
    let written: Vec<_> = site.read(&topic).iter().map(|message| message.text().to_owned()).collect();
    assert_eq!(written, [message, r#"{"v":1,"alertname":"Hot"}"#]);
}

#[tokio::test]
async fn a_device_is_in_the_partition_where_any_client_puts_it() {
    let mut site = Site::shared();
    let (mut router, topic) = single(&mut site, "partitions", 12).await;
    let devices: Vec<_> = (0..300).map(|n| format!("device-{n}")).collect();
    let records = devices.iter().map(|device| record(device, 1)).collect();
    delivered(router.submit(batch(records)).await).await;
    let written = site.read(&topic);
    assert_eq!(written.len(), devices.len());
    for message in written {
        let device = message.key.unwrap();
        assert_eq!(message.partition, partition_of(&device, 12), "{device}");
    }
}
