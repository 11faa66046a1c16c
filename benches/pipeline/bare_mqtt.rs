//! The bare loop from MQTT to Kafka: rumqttc → rdkafka, with the promise of the leg and nothing else.
//!
//! A persistent session at QoS 1; a message is acknowledged when its delivery report is in, in the order in which the
//! messages came; an idempotent producer with the router's settings; key and value as the router writes them, a payload
//! that is not JSON being refused. No headers, dead letters, redelivery table, metrics, supervision or back-pressure
//! beyond the broker's window. What fails ends the process, and the broker delivers again.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use rdkafka::ClientContext;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rumqttc::{AsyncClient, Event, Packet, Publish, QoS};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::signal::unix::{SignalKind, signal};
use ulid::Ulid;

use crate::load::{now, options};
use crate::site::Site;
use crate::subject::READY;

/// Acknowledgements that wait to be sent: a broker that goes on with a session may send more than its window.
const MAX_WAITING: usize = 1 << 20;

#[derive(Serialize)]
struct Message<'a> {
    device_id: &'a str,
    payload: &'a RawValue,
    timestamp: u64,
    event_id: Ulid,
}

/// Messages that wait for their delivery report, and whether they have it.
struct Acks {
    client: AsyncClient,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    first: usize,
    messages: VecDeque<(Publish, bool)>,
}

impl Acks {
    fn expect(&self, publish: Publish) -> usize {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.messages.push_back((publish, false));
        waiting.first + waiting.messages.len() - 1
    }
}

impl ClientContext for Acks {}

impl ProducerContext for Acks {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        if let Err((error, _)) = result {
            eprintln!("not delivered: {error}");
            std::process::exit(1);
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let index = number - waiting.first;
        waiting.messages[index].1 = true;
        while waiting.messages.front().is_some_and(|(_, delivered)| *delivered) {
            let acknowledged = waiting.messages.pop_front().map(|(publish, _)| self.client.try_ack(&publish));
            waiting.first += 1;
            if let Some(Err(error)) = acknowledged {
                eprintln!("not acknowledged: {error}");
                std::process::exit(1);
            }
        }
    }
}

/// Runs until SIGTERM.
pub fn main(site: &Site) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run(site))
}

async fn run(site: &Site) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut options = options(site.mqtt(), site.name())?;
    options.set_manual_acks(true);
    let (client, mut events) = AsyncClient::new(options, MAX_WAITING);
    let producer: ThreadedProducer<Acks> = site
        .kafka_client()
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("partitioner", "murmur2_random")
        .set("message.timeout.ms", "0")
        .set("linger.ms", "2")
        .create_with_context(Acks { client: client.clone(), waiting: Mutex::default() })?;
    let topic = site.topic();
    let device_at = site.name().len() + 1;
    let serve = async {
        loop {
            match events.poll().await? {
                Event::Incoming(Packet::ConnAck(connack)) if connack.session_present => println!("{READY}"),
                Event::Incoming(Packet::ConnAck(_)) => {
                    client.subscribe(site.mqtt_topic("+"), QoS::AtLeastOnce).await?;
                }
                Event::Incoming(Packet::SubAck(_)) => println!("{READY}"),
                Event::Incoming(Packet::Publish(publish)) => {
                    let device_id = publish.topic[device_at..].trim_end_matches("/data").to_owned();
                    let payload = serde_json::from_slice(&publish.payload).context("a payload that is not JSON")?;
                    let timestamp = now().as_secs();
                    let message = Message { device_id: &device_id, payload, timestamp, event_id: Ulid::generate() };
                    let value = serde_json::to_vec(&message)?;
                    let number = producer.context().expect(publish);
                    let record = BaseRecord::with_opaque_to(&topic, number).key(&device_id).payload(&value);
                    producer.send(record).map_err(|(error, _)| error)?;
                }
                _ => {}
            }
        }
    };
    tokio::select! {
        // At once: the producer's last reports would find nobody to acknowledge to.
        ended = serve => {
            let ended: anyhow::Result<()> = ended;
            eprintln!("{ended:?}");
            std::process::exit(1)
        }
        _ = terminate.recv() => Ok(()),
    }
}
