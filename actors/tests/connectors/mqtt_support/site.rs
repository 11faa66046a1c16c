//! A place for an ingress to be built in, again and again, as an engine would.

use std::sync::Arc;
use std::time::Duration;

use telemill_actors::mqtt::{MqttConnection, MqttConnectionSpec, PacketIds};
use telemill_actors::mqtt_ingress::{MqttAcker, MqttIngress, MqttIngressChecked, MqttIngressSpec, MqttReader};
use telemill_engine::clock::Clock;
use telemill_engine::context::{BuildContext, CheckContext, Connection, Connections, Topics};
use telemill_engine::ports::Ports;
use telemill_engine::position::Epoch;
use telemill_engine::record::{Kind, Record};
use telemill_engine::runtime::DEAD_LETTERS;
use telemill_engine::source::{Acker, Source, SourceBatch, SourceError, SourceEvent, SourceReader};
use telemill_engine::stage::{BuildError, Component};
use telemill_services::unique_name;
use tokio::time::Instant;

use super::{MemoryStore, ProducedLog, SOON, soon};

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

    /// The topic of a device's hello.
    pub fn hello(&self, device: &str) -> String {
        format!("{}/{device}/hello", self.topology)
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

    /// Builds an ingress and grants it its partition, as the engine does.
    pub async fn build(&self) -> Ingress {
        let (mut reader, acker) = self.try_build().await.unwrap().split();
        match reader.next(1).await.unwrap() {
            SourceEvent::Assigned { partitions, reply } => {
                assert_eq!(partitions, [0]);
                reply.send(vec![(0, telemill_engine::source::ResumeAt::Committed)]).unwrap();
            }
            other => panic!("{other:?} before the partition was assigned"),
        }
        // The answer is taken at the next question.
        assert!(futures_util::poll!(std::pin::pin!(reader.next(1))).is_pending());
        Ingress { reader, acker }
    }

    /// Builds an ingress and waits until it is subscribed.
    pub async fn build_subscribed(&self) -> Ingress {
        let mut ingress = self.build().await;
        ingress.idle_until(|| self.store.slot().is_some_and(|slot| slot.subscribed)).await;
        ingress
    }
}

pub fn checked<T>(connections: &Connections, check: impl FnOnce(&mut CheckContext<'_>) -> Option<T>) -> T {
    let (topics, mut problems) = (Topics::default(), Vec::new());
    let mut cx = CheckContext { name: "test", inputs: &[], connections, topics: &topics, problems: &mut problems };
    let checked = check(&mut cx);
    checked.unwrap_or_else(|| panic!("{problems:?}"))
}

/// Both halves of a built ingress.
pub struct Ingress {
    pub reader: MqttReader,
    pub acker: MqttAcker,
}

impl Ingress {
    /// The next event.
    pub async fn event(&mut self, max_records: usize) -> Result<SourceEvent, SourceError> {
        soon("something to read", self.reader.next(max_records)).await
    }

    /// The next batch, marks included.
    pub async fn batch(&mut self, max_records: usize) -> SourceBatch {
        match self.event(max_records).await.unwrap() {
            SourceEvent::Batch(batch) => batch,
            other => panic!("{other:?} instead of a batch"),
        }
    }

    /// What comes next, for as long as the test likes to wait.
    pub async fn reader_next(&mut self) -> Result<SourceEvent, SourceError> {
        self.reader.next(1000).await
    }

    /// Reads, and finds nothing, until something is so.
    pub async fn idle_until(&mut self, condition: impl Fn() -> bool) {
        let so = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::select! {
            biased;
            () = soon("a condition", so) => {}
            event = self.reader_next() => panic!("{event:?} while there is nothing to read"),
        }
    }

    /// The records of one batch, without marks.
    pub async fn take_up_to(&mut self, count: usize) -> (Vec<Record>, u64) {
        let batch = self.batch(count).await;
        assert!(batch.rejected.is_empty(), "{:?}", batch.rejected);
        (batch.records.into_iter().filter(|record| record.kind != Kind::Mark).collect(), batch.tag)
    }

    /// Reads `count` records and no more, without marks; also the tag of the last batch.
    pub async fn take(&mut self, count: usize) -> (Vec<Record>, u64) {
        let (mut records, mut last) = (Vec::new(), 0);
        // Marks go on when nothing else comes, so it is all of it that must come soon.
        let deadline = Instant::now() + SOON;
        while records.len() < count {
            assert!(Instant::now() < deadline, "{} records of {count} came", records.len());
            let (more, tag) = self.take_up_to(count - records.len()).await;
            records.extend(more);
            last = tag;
        }
        (records, last)
    }

    pub async fn acknowledge(&mut self, tag: u64) {
        self.acker.acknowledge(vec![(0, tag)]).await.unwrap();
    }

    /// The next record comes from this payload: whatever the broker had before it was not produced.
    pub async fn expect_next(&mut self, payload: &str) {
        let (records, tag) = self.take(1).await;
        assert_eq!(String::from_utf8_lossy(&records[0].payload), payload);
        self.acknowledge(tag).await;
    }

    /// Ends it as the engine does when the topology stops.
    pub async fn close(mut self) {
        soon("the end", self.acker.close()).await.unwrap();
        assert!(matches!(self.event(1).await, Ok(SourceEvent::End)));
    }

    /// Ends it as a crash does.
    pub async fn crash(self) {
        drop(self);
        // The aborted task lets go of its socket at its next turn.
        tokio::task::yield_now().await;
    }
}
