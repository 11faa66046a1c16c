//! Where a run takes place: the services, names of its own on them, and how far the records have come.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use telemill_services::{Services, unique_name};

use crate::leg::Leg;
use crate::subject::Subject;

/// Partitions of every topic, as in the shipped topology.
pub const PARTITIONS: i32 = 12;
/// Devices that take turns.
pub const DEVICES: usize = 1000;
/// Seconds of history that are kept in Redis.
pub const HISTORY: u64 = 5 * 3600;

const TIMEOUT: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The names of one run on the services of this process.
pub struct Site {
    name: String,
}

impl Site {
    /// Names that nobody has used.
    pub fn new(what: &str) -> Site {
        Site { name: unique_name(what) }
    }

    /// The names that another process was told.
    pub fn named(name: &str) -> Site {
        Site { name: name.to_owned() }
    }

    /// What all names begin with; also the consumer group and the bare loop's client id.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The URL of the MQTT broker.
    pub fn mqtt(&self) -> &'static str {
        Services::shared().mqtt_url()
    }

    /// `host:port` of the log.
    pub fn kafka(&self) -> &'static str {
        Services::shared().kafka_brokers()
    }

    /// The URL of the store.
    pub fn redis(&self) -> &'static str {
        Services::shared().redis_url()
    }

    /// The Kafka topic of the data.
    pub fn topic(&self) -> String {
        format!("{}-data", self.name)
    }

    /// The id of a device.
    pub fn device(&self, number: usize) -> String {
        format!("{}-{}", self.name, number % DEVICES)
    }

    /// The MQTT topic that a device publishes to; `+` in its place for all.
    pub fn mqtt_topic(&self, device: &str) -> String {
        format!("{}/{device}/data", self.name)
    }

    /// A client of the log.
    pub fn kafka_client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.kafka());
        config
    }

    /// Creates the data's topic, and waits until every partition has its leader.
    pub fn create_topic(&self) -> anyhow::Result<()> {
        let admin: AdminClient<DefaultClientContext> = self.kafka_client().create()?;
        let topic = self.topic();
        let new = NewTopic::new(&topic, PARTITIONS, TopicReplication::Fixed(1));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let created = runtime.block_on(admin.create_topics([&new], &AdminOptions::new()))?;
        for one in created {
            one.map_err(|(topic, code)| anyhow::anyhow!("topic {topic} cannot be created: {code}"))?;
        }
        let mut gauge = self.gauge(Leg::Mqtt)?;
        let since = Instant::now();
        while let Err(error) = gauge.read() {
            ensure!(since.elapsed() < TIMEOUT, "topic {topic} cannot be read: {error}");
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// Writes the topology that has only this leg; the file.
    pub fn topology(&self, leg: Leg) -> anyhow::Result<PathBuf> {
        let (name, topic) = (&self.name, self.topic());
        let stages = match leg {
            Leg::Mqtt => format!(
                "  ingress:\n    mqtt_ingress: {{ connection: broker, topics: [\"{}\"] }}\n  router:\n    inputs: \
                 [ingress]\n    kafka_router: {{ connection: log, key: device_id, routes: {{ data: {topic} }} }}\n",
                self.mqtt_topic("{device_id}")
            ),
            Leg::Redis => format!(
                "  to_store:\n    kafka_source: {{ connection: log, topics: [{topic}], group: {name} }}\n  writer:\n    \
                 inputs: [to_store]\n    batch: {{ max_records: 500 }}\n    redis_writer: {{ connection: state, \
                 history: {HISTORY}s }}\n"
            ),
        };
        let text = format!(
            "version: 1\nname: {name}\nconnections:\n  broker: {{ mqtt: {{ url: \"{}\", packet_ids: cyclic, \
             max_inflight: 1000 }} }}\n  log: {{ kafka: {{ brokers: [\"{}\"] }} }}\n  state: {{ redis: {{ url: \"{}\" \
             }} }}\ntopics:\n  defaults: {{ connection: log, partitions: {PARTITIONS}, retention: 24h }}\ncheckpoints: \
             {{ redis: {{ connection: state }} }}\nstages:\n{stages}dead_letters: {{ kafka: {{ connection: log, \
             topic: {name}-dlq }} }}\n",
            self.mqtt(),
            self.kafka(),
            self.redis(),
        );
        self.write(&text)
    }

    /// Writes a topology file of this run.
    pub fn write(&self, text: &str) -> anyhow::Result<PathBuf> {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pipeline");
        fs::create_dir_all(&dir)?;
        let file = dir.join(format!("{}.yaml", self.name));
        fs::write(&file, text)?;
        Ok(file)
    }

    /// What tells how many records are at the end of a leg.
    pub fn gauge(&self, leg: Leg) -> anyhow::Result<Gauge> {
        Ok(match leg {
            Leg::Mqtt => Gauge::Log { client: self.kafka_client().create()?, topic: self.topic() },
            Leg::Redis => Gauge::Store(redis::Client::open(self.redis())?.get_connection()?),
        })
    }
}

/// Counts what has arrived.
pub enum Gauge {
    /// The records of a topic.
    Log {
        /// Asks the log.
        client: BaseConsumer,
        /// The topic.
        topic: String,
    },
    /// The notifications of the store, which are the last that it does for a record.
    Store(redis::Connection),
}

impl Gauge {
    /// How many there are now. Only differences mean something.
    pub fn read(&mut self) -> anyhow::Result<usize> {
        match self {
            Gauge::Log { client, topic } => {
                let ends = (0..PARTITIONS).map(|partition| client.fetch_watermarks(topic, partition, TIMEOUT));
                let ends: Result<Vec<_>, _> = ends.collect();
                Ok(ends?.into_iter().map(|(_, end)| usize::try_from(end).unwrap_or(0)).sum())
            }
            Gauge::Store(connection) => {
                let info: String = redis::cmd("INFO").arg("commandstats").query(connection)?;
                let line = info.lines().find_map(|line| line.strip_prefix("cmdstat_publish:calls="));
                let calls = line.and_then(|rest| rest.split(',').next());
                calls.map_or(Ok(0), |calls| calls.parse().context("redis counts its commands in another way"))
            }
        }
    }

    /// Waits until a process has brought so many; how many there are then.
    pub fn reaches(&mut self, expected: usize, within: Duration, subject: &mut Subject) -> anyhow::Result<usize> {
        let since = Instant::now();
        loop {
            let there = self.read()?;
            if there >= expected {
                return Ok(there);
            }
            subject.lives()?;
            if since.elapsed() > within {
                bail!("{} of the records are missing after {within:?}", expected - there);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}
