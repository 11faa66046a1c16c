//! A pipeline of a test's own on services that it may share: the topology file that is shipped, with names that no other
//! test uses.

use std::fs;
use std::path::{Path, PathBuf};

use telemill_services::{Kafka, Mosquitto, Redis, Services, unique_name};

/// The shipped topology under names of its own. Its directory goes with it, and stays after a failed test.
pub struct Site {
    /// The topology's name, and the beginning of every other name: MQTT topics, Kafka topics, groups, devices.
    pub name: String,
    /// Where the broker is.
    pub mqtt: String,
    /// Where the log is.
    pub kafka: String,
    /// Where the store is.
    pub redis: String,
    text: String,
    dir: PathBuf,
}

impl Site {
    /// On the shared services, with 3 partitions.
    pub fn new(test: &str) -> Site {
        let services = Services::shared();
        Site::at(test, services.mqtt_url(), services.kafka_brokers(), services.redis_url())
    }

    /// On services of which those that are given are the test's own.
    pub fn with(test: &str, mqtt: Option<&Mosquitto>, kafka: Option<&Kafka>, redis: Option<&Redis>) -> Site {
        let shared = Services::shared();
        let mqtt = mqtt.map_or_else(|| shared.mqtt_url().to_owned(), Mosquitto::url);
        let kafka = kafka.map_or_else(|| shared.kafka_brokers().to_owned(), Kafka::brokers);
        let redis = redis.map_or_else(|| shared.redis_url().to_owned(), Redis::url);
        Site::at(test, &mqtt, &kafka, &redis)
    }

    /// On services behind these addresses.
    pub fn at(test: &str, mqtt: &str, kafka: &str, redis: &str) -> Site {
        let name = unique_name(test);
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("e2e").join(&name);
        fs::create_dir_all(&dir).expect("the build directory can be written");
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies/iot-ingestion.yaml");
        let text = fs::read_to_string(shipped).expect("the shipped topology is there");
        let (mqtt, kafka, redis) = (mqtt.to_owned(), kafka.to_owned(), redis.to_owned());
        let mut site = Site { name: name.clone(), mqtt, kafka, redis, text, dir };
        site.edit("iot-", &format!("{name}-"));
        site.edit("devices/{device_id}", &format!("{name}/{{device_id}}"));
        site.edit("group: telemill", &format!("group: {name}"));
        site.edit("topic: alerts", &format!("topic: {name}-alerts"));
        site.edit("name: ", "drain_deadline: 30s\nname: ");
        site.edit("partitions: 12", "partitions: 3");
        site.name = format!("{name}-ingestion");
        site
    }

    /// Changes the file; what is to be changed must be there.
    pub fn edit(&mut self, from: &str, to: &str) {
        assert!(self.text.contains(from), "the shipped topology has no `{from}` any more");
        self.text = self.text.replace(from, to);
    }

    /// What all names of the test begin with.
    pub fn prefix(&self) -> &str {
        self.name.strip_suffix("-ingestion").expect("the name was made so")
    }

    /// The id of a device that is this test's.
    pub fn device(&self, number: usize) -> String {
        format!("{}-d{number}", self.prefix())
    }

    /// The MQTT topic of a device: `data`, `hello`, `commands`.
    pub fn mqtt_topic(&self, device: &str, last: &str) -> String {
        format!("{}/{device}/{last}", self.prefix())
    }

    /// The Kafka topic `iot-{last}`, or `alerts`, of this test.
    pub fn topic(&self, last: &str) -> String {
        format!("{}-{last}", self.prefix())
    }

    /// Writes the topology file; its path.
    pub fn file(&self) -> PathBuf {
        let path = self.dir.join("topology.yaml");
        fs::write(&path, &self.text).expect("the build directory can be written");
        path
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the topology stays in {}", self.dir.display());
        } else {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}
