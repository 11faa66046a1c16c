//! What is sent: devices in turn, at a rate or as fast as it goes. Runs in this process, whose time is not counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, ensure};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rumqttc::{Client, Event, MqttOptions, Packet, QoS};
use telemill_engine::clock::Timestamp;
use telemill_engine::envelope;
use telemill_engine::record::EventId;
use telemill_services::unique_name;
use ulid::Ulid;

use crate::leg::Leg;
use crate::site::Site;

const TAKEN_WITHIN: Duration = Duration::from_secs(120);

/// Sends `count` records at `rate` a second, or at once; returns when the broker has all of them.
pub fn send(leg: Leg, site: &Site, count: usize, rate: Option<usize>) -> anyhow::Result<()> {
    match leg {
        Leg::Mqtt => Fleet::connect(site)?.publish(site, count, rate, payload),
        Leg::Redis => write(site, count, rate),
    }
}

/// What a device says: some 110 bytes, no two alike.
pub fn payload(number: usize) -> String {
    format!(
        r#"{{"temperature":{}.{:02},"humidity":{},"battery":{},"rssi":-{},"firmware":"2.4.{}","sequence":{number}}}"#,
        15 + number % 20,
        number % 97,
        30 + number % 50,
        number % 101,
        40 + number % 50,
        number % 9,
    )
}

/// When the record of a number is due.
struct Schedule {
    began: Instant,
    rate: Option<usize>,
}

impl Schedule {
    fn wait_for(&self, number: usize) {
        let Some(rate) = self.rate else { return };
        let due = self.began + Duration::from_secs_f64(number as f64 / rate as f64);
        let early = due.saturating_duration_since(Instant::now());
        if !early.is_zero() {
            std::thread::sleep(early);
        }
    }
}

/// Devices behind one MQTT connection, at QoS 1.
pub struct Fleet {
    client: Client,
    taken: Arc<AtomicUsize>,
}

impl Fleet {
    /// Connects.
    pub fn connect(site: &Site) -> anyhow::Result<Fleet> {
        let (client, mut connection) = Client::new(options(site.mqtt(), &unique_name("fleet"))?, 1000);
        let taken = Arc::new(AtomicUsize::new(0));
        let counted = taken.clone();
        std::thread::spawn(move || {
            for event in connection.iter() {
                match event {
                    Ok(Event::Incoming(Packet::PubAck(_))) => drop(counted.fetch_add(1, Ordering::Release)),
                    Ok(_) => {}
                    // Either the client is gone, or too little is taken, which is seen.
                    Err(_) => return,
                }
            }
        });
        Ok(Fleet { client, taken })
    }

    /// Publishes; returns when the broker has all of it.
    pub fn publish(
        &self,
        site: &Site,
        count: usize,
        rate: Option<usize>,
        payload: impl Fn(usize) -> String,
    ) -> anyhow::Result<()> {
        let expected = self.taken.load(Ordering::Acquire) + count;
        let schedule = Schedule { began: Instant::now(), rate };
        for number in 0..count {
            schedule.wait_for(number);
            let topic = site.mqtt_topic(&site.device(number));
            self.client.publish(topic, QoS::AtLeastOnce, false, payload(number))?;
        }
        let since = Instant::now();
        while self.taken.load(Ordering::Acquire) < expected {
            ensure!(since.elapsed() < TAKEN_WITHIN, "the MQTT broker does not take what is published");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

/// Options of a client with a persistent session.
pub fn options(url: &str, client_id: &str) -> anyhow::Result<MqttOptions> {
    let place = url.strip_prefix("mqtt://").context("MQTT_URL is no mqtt:// URL")?;
    let (host, port) = place.rsplit_once(':').unwrap_or((place, "1883"));
    let mut options = MqttOptions::new(client_id, host, port.parse()?);
    options.set_max_packet_size(1 << 20, 1 << 20);
    options.set_inflight(1000);
    options.set_keep_alive(Duration::from_secs(30));
    options.set_clean_session(false);
    Ok(options)
}

/// Writes records to the log as the router does: same message, same headers, same settings.
fn write(site: &Site, count: usize, rate: Option<usize>) -> anyhow::Result<()> {
    let producer: ThreadedProducer<DefaultProducerContext> = site
        .kafka_client()
        .set("enable.idempotence", "true")
        .set("partitioner", "murmur2_random")
        .set("linger.ms", "2")
        .create()?;
    let topic = site.topic();
    let session = Ulid::generate().to_string();
    let schedule = Schedule { began: Instant::now(), rate };
    let mut message = Vec::new();
    for number in 0..count {
        schedule.wait_for(number);
        let (id, now) = (EventId(Ulid::generate()), now());
        let device = site.device(number);
        let device = device.parse().context("a device id of this run is unfit")?;
        message.clear();
        envelope::write(&mut message, &device, payload(number).as_bytes(), now, id);
        loop {
            let record = BaseRecord::to(&topic).key(device.as_str()).payload(&message[..]);
            match producer.send(record.headers(headers(id, now, number, &session))) {
                Ok(()) => break,
                Err((error, _)) if is_full(&error) => std::thread::sleep(Duration::from_millis(1)),
                Err((error, _)) => return Err(error.into()),
            }
        }
    }
    producer.flush(TAKEN_WITHIN).context("the log does not take what is written")
}

fn is_full(error: &rdkafka::error::KafkaError) -> bool {
    error.rdkafka_error_code() == Some(rdkafka::types::RDKafkaErrorCode::QueueFull)
}

fn headers(id: EventId, now: Timestamp, number: usize, session: &str) -> OwnedHeaders {
    let texts = [
        ("event-id", id.to_string()),
        ("received-at-ms", now.as_millis().to_string()),
        ("kind", "data".to_owned()),
        ("slot", "0".to_owned()),
        ("slot-session", session.to_owned()),
        ("delivery", (number + 1).to_string()),
        ("packet-id", (number % 65_535 + 1).to_string()),
        ("payload-hash", format!("{:016x}", number)),
    ];
    let empty = OwnedHeaders::new_with_capacity(texts.len());
    texts.iter().fold(empty, |headers, (key, value)| headers.insert(Header { key, value: Some(value) }))
}

/// The time now.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
