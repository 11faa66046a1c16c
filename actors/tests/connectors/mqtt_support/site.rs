//! A place for an ingress to be built in, again and again, as an engine would.

use std::sync::Arc;
use std::time::Duration;

use telemill_actors::mqtt::{MqttConnection, MqttConnectionSpec, PacketIds};
use telemill_actors::mqtt_ingress::{MqttIngress, MqttIngressChecked, MqttIngressSpec};
use telemill_engine::clock::Clock;
use telemill_engine::context::{BuildContext, CheckContext, Connection, Connections, Topics};
use telemill_engine::ports::Ports;
use telemill_engine::position::Epoch;
use telemill_engine::runtime::DEAD_LETTERS;
use telemill_engine::stage::{BuildError, Component};
use telemill_services::unique_name;

use super::{Ingress, MemoryStore, ProducedLog};

/// Where an ingress lives: what stays when it is built anew.
pub struct Site {
    pub topology: String,
    pub connection: MqttConnectionSpec,
    pub topics: Vec<String>,
    pub accept_retained: bool,
    pub store: Arc<MemoryStore>,
    pub router: Arc<ProducedLog>,
    pub dead_letters: Arc<ProducedLog>,
}

impl Site {
    /// Before the broker at `url`, with topics and a client id of its own.
    pub fn new(url: &str) -> Site {
        let topology = unique_name("t");
        Site {
            topics: ["data", "hello"].map(|kind| format!("{topology}/{{device_id}}/{kind}")).into(),
            topology,
            connection: MqttConnectionSpec {
                url: url.to_owned(),
                username: None,
                password: None,
                packet_ids: PacketIds::Cyclic,
                max_inflight: 1000,
                keep_alive: Duration::from_secs(10).into(),
            },
            accept_retained: false,
            store: Arc::default(),
            router: Arc::default(),
            dead_letters: Arc::default(),
        }
    }

    pub fn with_packet_ids(mut self, packet_ids: PacketIds) -> Site {
        self.connection.packet_ids = packet_ids;
        self
    }

    pub fn with_keep_alive(mut self, seconds: u64) -> Site {
        self.connection.keep_alive = Duration::from_secs(seconds).into();
        self
    }

    /// The topic of a device's data.
    pub fn data(&self, device: &str) -> String {
        format!("{}/{device}/data", self.topology)
    }

    /// The filters of the topics.
    pub fn filters(&self) -> Vec<String> {
        self.topics.iter().map(|topic| topic.replace("{device_id}", "+")).collect()
    }

    /// The ingress' client id.
    pub fn client_id(&self) -> String {
        format!("telemill-{}-ingress-0", self.topology)
    }

    /// The topology's one connection.
    pub fn connections(&self) -> Connections {
        let MqttConnectionSpec { url, username, password, packet_ids, max_inflight, keep_alive } = &self.connection;
        let spec = MqttConnectionSpec {
            url: url.clone(),
            username: username.clone(),
            password: password.clone(),
            packet_ids: *packet_ids,
            max_inflight: *max_inflight,
            keep_alive: *keep_alive,
        };
        let broker = checked(&Connections::new(), |cx| MqttConnection::check(spec, cx));
        Connections::new().with("broker", Arc::new(broker))
    }

    pub fn checked(&self) -> MqttIngressChecked {
        let topics = serde_json::to_string(&self.topics).unwrap();
        let retained = if self.accept_retained { "accept" } else { "ignore" };
        let spec = format!(r#"{{"connection":"broker","topics":{topics},"retained":"{retained}"}}"#);
        let spec: MqttIngressSpec = serde_json::from_str(&spec).unwrap();
        checked(&self.connections(), |cx| MqttIngress::check(spec, cx))
    }

    pub fn context(&self, stage: &str) -> BuildContext {
        let ports = Ports::default();
        ports.offer_recall(&"router".into(), self.router.clone());
        ports.offer_recall(&DEAD_LETTERS.into(), self.dead_letters.clone());
        BuildContext {
            topology: self.topology.as_str().into(),
            stage: stage.into(),
            clock: Clock::system(),
            epoch: Epoch(1),
            topics: Arc::new(Topics::default()),
            marks: None,
            store: self.store.clone(),
            ports,
            downstream: [Arc::from("router"), Arc::from(DEAD_LETTERS)].into(),
            peers: Default::default(),
        }
    }

    pub async fn try_build(&self) -> Result<MqttIngress, BuildError> {
        MqttIngress::build(&self.checked(), &self.context("ingress")).await
    }

    /// Builds an ingress and grants it its partition.
    pub async fn build(&self) -> Ingress<MqttIngress> {
        Ingress::begin(self.try_build().await.unwrap()).await
    }

    /// Builds an ingress and waits until it is subscribed.
    pub async fn build_subscribed(&self) -> Ingress<MqttIngress> {
        let mut ingress = self.build().await;
        ingress.serving().await;
        ingress
    }
}

pub fn checked<T>(connections: &Connections, check: impl FnOnce(&mut CheckContext<'_>) -> Option<T>) -> T {
    let (topics, mut problems) = (Topics::default(), Vec::new());
    let mut cx = CheckContext { name: "test", inputs: &[], connections, topics: &topics, problems: &mut problems };
    let checked = check(&mut cx);
    checked.unwrap_or_else(|| panic!("{problems:?}"))
}
