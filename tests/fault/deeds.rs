//! Faults that take more than a few lines.

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rand::Rng;
use rand::seq::IndexedRandom;
use rumqttc::{Client, Event, MqttOptions, Packet, QoS};
use uuid::Uuid;

use crate::faults::Scene;
use crate::limits::MAX_PAYLOAD;
use crate::load::Message;
use crate::points::AT_BURIAL;
use crate::rig::Link;
use crate::states::server;
use crate::support::{DEADLINE, Publisher, Store};

impl Scene<'_> {
    /// Redis forgets what it has learned in the last second or so.
    pub fn roll_back(&mut self) -> String {
        self.extra.updates_are_whole = false;
        let redis = server(self.rig, Link::Redis);
        let (now, then) = (redis.dir().join("appendonlydir"), redis.dir().join("then"));
        // Frozen, so that the copy is of one moment.
        redis.stop();
        copy(&now, &then);
        redis.cont();
        self.pass(500, 1500);
        let redis = server(self.rig, Link::Redis);
        redis.kill9();
        // Nobody hears anything of the newer one any more.
        self.extra.rolled_back.store(true, Ordering::Release);
        fs::remove_dir_all(&now).expect("it is ours");
        fs::rename(&then, &now).expect("it is ours");
        redis.restart();
        "Redis".to_owned()
    }

    /// A message of exactly the largest size, and one that is a byte larger.
    pub fn oversize(&mut self) -> String {
        let mut publisher = Publisher::connect(&self.rig.mosquitto.url());
        let device = self.extra.device("large");
        let topic = self.rig.site.mqtt_topic(&device, "data");
        for size in [MAX_PAYLOAD, MAX_PAYLOAD + 1] {
            let uuid = Uuid::new_v4().to_string();
            let text = format!(r#"{{"seq":1,"uuid":"{uuid}","temperature":1,"filler":""}}"#);
            let payload = text.replace(r#""""#, &format!(r#""{}""#, "x".repeat(size - text.len())));
            publisher.send(&topic, payload);
            match size {
                MAX_PAYLOAD => {
                    let message = Message { seq: 1, uuid, is_hot: false };
                    self.extra.sent.fit.insert(device.clone(), vec![message]);
                }
                _ => self.extra.sent.unfit.push(uuid),
            }
        }
        publisher.settled();
        format!("{MAX_PAYLOAD} bytes, and one more")
    }

    /// Another client takes the session, reads for a moment, acknowledges nothing, and goes.
    pub fn take_over(&mut self) -> String {
        let id = self.rig.client_id();
        let mut options = MqttOptions::new(&id, "127.0.0.1", self.rig.mosquitto.port());
        options.set_clean_session(false);
        options.set_manual_acks(true);
        options.set_max_packet_size(2 << 20, 2 << 20);
        for _ in 0..2 {
            let (_client, mut connection) = Client::new(options.clone(), 10);
            let end = Instant::now() + Duration::from_millis(300);
            while Instant::now() < end {
                if !matches!(connection.recv_timeout(Duration::from_millis(50)), Ok(Ok(_)) | Err(_)) {
                    break;
                }
            }
            self.pass(0, 1000);
        }
        format!("client id {id}, twice")
    }

    /// Retained messages come in a flood; to a session that is there they are messages like all others.
    pub fn retain(&mut self) -> String {
        const COUNT: usize = 500;
        let options =
            MqttOptions::new(telemill_services::unique_name("retainer"), "127.0.0.1", self.rig.mosquitto.port());
        let (client, mut connection) = Client::new(options, COUNT + 10);
        for number in 0..COUNT {
            let device = self.extra.device(&format!("retained{number}"));
            let uuid = Uuid::new_v4().to_string();
            let payload = format!(r#"{{"seq":1,"uuid":"{uuid}","temperature":1}}"#);
            let topic = self.rig.site.mqtt_topic(&device, "data");
            client.publish(topic, QoS::AtLeastOnce, true, payload).expect("there is room");
            self.extra.sent.fit.insert(device, vec![Message { seq: 1, uuid, is_hot: false }]);
        }
        let (mut taken, end) = (0, Instant::now() + DEADLINE);
        while taken < COUNT {
            assert!(Instant::now() < end, "the broker has not taken {} of the retained messages", COUNT - taken);
            match connection.recv_timeout(Duration::from_secs(1)) {
                Ok(Ok(Event::Incoming(Packet::PubAck(_)))) => taken += 1,
                Ok(Err(error)) => panic!("{} of the retained messages are not taken: {error}", COUNT - taken),
                Ok(Ok(_)) | Err(_) => {}
            }
        }
        format!("{COUNT} messages")
    }

    /// A key of one device is of another type until the writer has given up some of its records; or, where the engine is
    /// killed while it does, until it is dead.
    pub fn poison(&mut self) -> String {
        let point = AT_BURIAL.choose(self.random).copied().filter(|_| self.random.random_bool(0.7));
        self.poison_until(point)
    }

    /// [`Scene::poison`], with or without a kill at this point.
    pub fn poison_until(&mut self, point: Option<&str>) -> String {
        let mut store = Store::new(&self.rig.redis.url());
        let device = self.extra.device("spoilt");
        store.spoil(&device);
        if let Some(point) = point {
            self.rig.engine.say(&format!("kill {point} 1"));
        }
        let mut publisher = Publisher::connect(&self.rig.mosquitto.url());
        let topic = self.rig.site.mqtt_topic(&device, "data");
        let mut messages = Vec::new();
        for seq in 1..=6 {
            let uuid = Uuid::new_v4().to_string();
            publisher.send(&topic, format!(r#"{{"seq":{seq},"uuid":"{uuid}","temperature":1}}"#));
            messages.push(Message { seq, uuid: uuid.clone(), is_hot: false });
            if seq == 3 {
                match point {
                    // Mended before it is back: what it had given up must not be written now, and not be given up again.
                    Some(point) => {
                        self.is_dead_at(point);
                        store.mend(&device);
                        self.rig.start(&[]);
                    }
                    None => {
                        self.rig.writer_is_past(&uuid);
                        store.mend(&device);
                    }
                }
            }
            if seq <= 3 {
                self.extra.spoilt.insert(uuid);
            }
        }
        publisher.settled();
        self.extra.sent.fit.insert(device.clone(), messages);
        point.map_or(device, |point| format!("killed at {point}"))
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a scratch directory can be written");
    for entry in fs::read_dir(from).expect("it is there").flatten() {
        fs::copy(entry.path(), to.join(entry.file_name())).expect("a scratch directory can be written");
    }
}
