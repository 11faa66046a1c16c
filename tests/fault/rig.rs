//! The pipeline under fire: Mosquitto, Kafka and Redis of its own, a proxy on each link, and the engine on the shipped
//! topology behind them. Everything stays up from one fault to the next, but for what a fault ends.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use rand::Rng;
use telemill_services::{Kafka, Mosquitto, Redis, wait_until};

use crate::engine::Engine;
use crate::proxy::Proxy;
use crate::support::{DEADLINE, LogRecord, Reader, Site, Store, Telemill};
use crate::tap::{Deliveries, uuid_of};

/// The partitions of each topic.
pub const PARTITIONS: i32 = 3;

/// A link of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Mqtt,
    Kafka,
    Redis,
}

/// All links.
pub const LINKS: [Link; 3] = [Link::Mqtt, Link::Kafka, Link::Redis];

/// See the module.
pub struct Rig {
    pub mosquitto: Mosquitto,
    pub kafka: Kafka,
    pub redis: Redis,
    /// The topology; its addresses lead through the proxies.
    pub site: Site,
    /// What went over the MQTT link.
    pub deliveries: Deliveries,
    proxies: [Proxy; 3],
    pub engine: Engine,
    binary: PathBuf,
    /// Orders that every engine has from its first moment.
    pub standing: Vec<String>,
}

impl Rig {
    /// Starts the services; the engine is started by [`Rig::run`].
    pub fn new(name: &str) -> Rig {
        let deliveries = Deliveries::default();
        let proxies = [Proxy::start(Some(deliveries.taps())), Proxy::start(None), Proxy::start(None)];
        let [mqtt, log, store] = &proxies;
        let mosquitto = Mosquitto::start();
        mqtt.leads_to(&mosquitto.address());
        let inner = free_port();
        log.leads_to(&format!("127.0.0.1:{inner}"));
        let kafka = Kafka::start_with(&[
            "--set",
            &format!(
                "listeners=PLAINTEXT://127.0.0.1:@PORT@,PROXIED://127.0.0.1:{inner},CONTROLLER://127.0.0.1:@CONTROLLER_PORT@"
            ),
            "--set",
            &format!("advertised.listeners=PLAINTEXT://127.0.0.1:@PORT@,PROXIED://{}", log.address),
            "--set",
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "--set",
            "inter.broker.listener.name=PLAINTEXT",
        ]);
        let redis = Redis::start_with(&["--set", "appendfsync always"]);
        store.leads_to(&redis.address());
        let site = site(name, [mqtt, log, store].map(|proxy| proxy.address.to_string()));
        let binary = binary();
        Rig {
            mosquitto,
            kafka,
            redis,
            site,
            deliveries,
            proxies,
            engine: Engine::default(),
            binary,
            standing: Vec::new(),
        }
    }

    /// The proxy on a link.
    pub fn proxy(&self, link: Link) -> &Proxy {
        &self.proxies[match link {
            Link::Mqtt => 0,
            Link::Kafka => 1,
            Link::Redis => 2,
        }]
    }

    /// Starts the engine and waits until it is ready.
    pub fn run(&mut self) {
        self.start(&[]);
        self.engine.until_ready();
    }

    /// Starts the engine, with these orders from its first moment.
    pub fn start(&mut self, orders: &[String]) {
        let orders: Vec<String> = self.standing.iter().chain(orders).cloned().collect();
        let variables = [
            ("MQTT_URL", self.site.mqtt.clone()),
            ("KAFKA_BROKERS", self.site.kafka.clone()),
            ("REDIS_URL", self.site.redis.clone()),
            ("TELEMILL_FAULTS", orders.join("\n")),
        ];
        let command = Command::new("env");
        self.engine.takes(Telemill::spawn(command, &self.binary, &self.site.file(), &self.site.name, &variables));
    }

    /// The client id of the ingress.
    pub fn client_id(&self) -> String {
        format!("telemill-{}-ingress-0", self.site.name)
    }

    /// Waits until the writer has got past a message, one way or another.
    pub fn writer_is_past(&self, uuid: &str) {
        let (reader, topic) = (Reader::new(&self.kafka.brokers()), self.site.topic("data"));
        let is_it = |record: &LogRecord| uuid_of(&record.value).as_deref() == Some(uuid);
        let record = wait_until(DEADLINE, &format!("{uuid} in the log"), || reader.all(&topic).into_iter().find(is_it));
        let mut store = Store::new(&self.redis.url());
        wait_until(DEADLINE, &format!("the writer behind {uuid}"), || {
            let (_, offset) = store.guard(&self.site.name, "writer", record.partition)?;
            (offset >= record.offset).then_some(())
        });
    }

    /// The topic that a position in Redis names, once there is one.
    pub fn data_topic_id(&self) -> Option<String> {
        let mut store = Store::new(&self.redis.url());
        (0..PARTITIONS).find_map(|partition| store.guard(&self.site.name, "writer", partition)).map(|(topic, _)| topic)
    }
}

/// The shipped topology, with rules that depend on nothing but the records, and few partitions.
fn site(name: &str, [mqtt, kafka, redis]: [String; 3]) -> Site {
    let mut site = Site::at(name, &format!("mqtt://{mqtt}"), &kafka, &format!("redis://{redis}"));
    site.edit("          for: 30s\n", "");
    site
}

/// The binary under test, out of the way of the next build. Those that earlier runs have left behind are removed.
pub fn binary() -> PathBuf {
    const NAME: &str = "telemill-faults-";
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for entry in fs::read_dir(folder).expect("the build directory can be read").flatten() {
        let name = entry.file_name();
        let run = name.to_str().and_then(|name| name.strip_prefix(NAME));
        if run.is_some_and(|run| !Path::new("/proc").join(run).exists()) {
            // Another run may have removed it at the same moment.
            let _ = fs::remove_file(entry.path());
        }
    }
    let kept = folder.join(format!("{NAME}{}", std::process::id()));
    if !kept.exists() {
        fs::copy(env!("CARGO_BIN_EXE_telemill"), &kept).expect("the build directory can be written");
    }
    kept
}

/// A port that is free, below those of outgoing connections.
pub fn free_port() -> u16 {
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let mut ports = std::iter::repeat_with(|| rand::rng().random_range(20_000..30_000));
    ports.find(free).expect("a port is free")
}
