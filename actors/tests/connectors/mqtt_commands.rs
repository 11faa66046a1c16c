//! `mqtt_commands` before Mosquitto and before a scripted broker.

use std::sync::Arc;

use rumqttc::{Packet, PubAck, QoS};
use telemill_actors::mqtt_commands::MqttCommands;
use telemill_engine::ack::Guards;
use telemill_engine::batch::Batch;
use telemill_engine::record::{DeadReason, Reason, Record};
use telemill_engine::registry::CommandsSpec;
use telemill_engine::sink::{Sink, Submitted};
use telemill_engine::stage::Component;
use telemill_engine::testing::record;
use telemill_services::{Mosquitto, eventually};

use crate::mqtt_support::{SOON, Scripted, Site, Subscriber, checked, deliver, soon};

fn topic(site: &Site, device: &str) -> String {
    format!("{}/{device}/commands", site.topology)
}

/// The sink of the devices' commands.
pub(crate) async fn build(site: &Site) -> MqttCommands {
    let spec = CommandsSpec { connection: "broker".to_owned(), topic: topic(site, "{device_id}") };
    let checked = checked(&site.connections(), |cx| MqttCommands::check(spec, cx));
    MqttCommands::build(&checked, &site.context("sessions.commands")).await.unwrap()
}

fn batch(records: Vec<Record>) -> Arc<Batch> {
    Arc::new(Batch::new(0, records, Guards::none()))
}

#[tokio::test]
async fn commands_reach_their_devices_in_order_also_over_an_outage() {
    let broker = Mosquitto::start();
    let site = Site::new(&broker.url());
    let mut device = Subscriber::connect(&broker.url(), &topic(&site, "d1")).await;
    let mut sink = build(&site).await;
    deliver(&mut sink, (0..500).map(|n| record("d1", n)).collect()).await;
    for number in 0..500 {
        assert_eq!(device.next().await, format!(r#"{{"n":{number}}}"#));
    }

    broker.terminate();
    eventually(SOON, "the outage to show", async || {
        let submitted = sink.submit(batch(vec![record("d1", 500)])).await.await;
        matches!(submitted, Submitted::Retry { .. }).then_some(())
    })
    .await;
    broker.restart();
    let mut device = Subscriber::connect(&broker.url(), &topic(&site, "d1")).await;
    deliver(&mut sink, vec![record("d1", 501)]).await;
    assert_eq!(device.next().await, r#"{"n":501}"#);
    soon("the end", sink.close()).await;
}

#[tokio::test]
async fn a_batch_is_delivered_when_the_last_puback_is_there() {
    let broker = Scripted::start().await;
    let site = Site::new(&broker.url());
    let mut sink = build(&site).await;
    let mut peer = broker.accept(false).await;
    assert!(peer.clean_session && peer.client_id != site.client_id());
    let dead = DeadReason {
        reason: Reason::PANIC,
        detail: "".into(),
        stage: "sessions".into(),
        attempts: 3,
        source: Default::default(),
    };
    let buried = Record { dead: Some(Arc::new(dead)), ..record("d1", 1) };
    let mut completion = sink.submit(batch(vec![record("d1", 0), buried, record("d2", 2)])).await;
    let mut published = Vec::new();
    for _ in 0..2 {
        match peer.next().await {
            Some(Packet::Publish(publish)) => {
                assert_eq!((publish.qos, publish.retain), (QoS::AtLeastOnce, false));
                published.push((publish.pkid, publish.topic, publish.payload));
            }
            other => panic!("{other:?}"),
        }
    }
    let sent: Vec<_> = published.iter().map(|(_, topic, payload)| (topic.clone(), &payload[..])).collect();
    assert_eq!(sent, [(topic(&site, "d1"), &br#"{"n":0}"#[..]), (topic(&site, "d2"), &br#"{"n":2}"#[..])]);
    peer.send([Packet::PubAck(PubAck::new(published[1].0))]).await;
    peer.expect_only_pings().await;
    assert!(futures_util::poll!(&mut completion).is_pending());
    peer.send([Packet::PubAck(PubAck::new(published[0].0))]).await;
    assert!(matches!(soon("the completion", completion).await, Submitted::Delivered));

    // What was not acknowledged when the connection ended is to be submitted again.
    let completion = sink.submit(batch(vec![record("d1", 3)])).await;
    assert!(matches!(peer.next().await, Some(Packet::Publish(_))));
    drop(peer);
    assert!(matches!(soon("the completion", completion).await, Submitted::Retry { .. }));
}
