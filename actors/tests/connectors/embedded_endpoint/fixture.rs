//! An endpoint to talk to, with an engine behind it that a test holds in its hand.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use telemill_actors::embedded::EmbeddedConnection;
use telemill_actors::embedded::endpoint::{EmbeddedCommands, EmbeddedIngress};
use telemill_actors::mqtt_ingress::MqttIngressSpec;
use telemill_engine::ack::Guards;
use telemill_engine::batch::Batch;
use telemill_engine::clock::Clock;
use telemill_engine::context::{BuildContext, Connection, Connections, Topics};
use telemill_engine::peers::Peers;
use telemill_engine::ports::Ports;
use telemill_engine::position::Epoch;
use telemill_engine::record::{EventId, Kind, Record};
use telemill_engine::registry::CommandsSpec;
use telemill_engine::sink::{Sink, Submitted};
use telemill_engine::source::{Acker, RejectedRecord, ResumeAt, Source, SourceEvent, SourceReader};
use telemill_engine::stage::Component;
use telemill_services::{eventually, unique_name};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use ulid::Ulid;

use crate::mqtt_support::{MemoryStore, SOON, checked, soon};

/// A data directory, and what is said of the connection. Removed at the end.
pub struct Site {
    pub dir: PathBuf,
    pub connection: Value,
    pub topics: Vec<String>,
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Site {
    /// With the defaults, on a free port.
    pub fn new() -> Site {
        Site::with(json!({}))
    }

    /// With other settings of the connection.
    pub fn with(settings: Value) -> Site {
        let dir = std::env::temp_dir().join(unique_name("telemill-endpoint"));
        let mut connection = json!({ "dir": dir, "mqtt_listen": "127.0.0.1:0" });
        let fields = connection.as_object_mut().unwrap();
        fields.extend(settings.as_object().unwrap().clone());
        let topics = ["devices/{device_id}/data", "devices/{device_id}/hello"].map(str::to_owned).into();
        Site { dir, connection, topics }
    }

    /// The connection, checked.
    pub fn connection(&self) -> Arc<EmbeddedConnection> {
        let spec = serde_json::from_value(self.connection.clone()).unwrap();
        Arc::new(checked(&Connections::new(), |cx| EmbeddedConnection::check(spec, cx)))
    }

    /// Builds a source on a connection.
    pub async fn build(&self, connections: &Connections) -> EmbeddedIngress {
        let spec = json!({ "connection": "local", "topics": self.topics });
        let spec: MqttIngressSpec = serde_json::from_value(spec).unwrap();
        let ingress = checked(connections, |cx| EmbeddedIngress::check(spec, cx));
        EmbeddedIngress::build(&ingress, &context("ingress")).await.unwrap()
    }

    /// Builds the endpoint, and drives it as an engine does whose sinks take everything.
    pub async fn start(&self) -> Endpoint {
        let local = self.connection();
        let connections = Connections::new().with("local", local.clone());
        let commands = commands(&connections).await;
        let source = self.build(&connections).await;
        let taken = Arc::<Mutex<Taken>>::default();
        let flowing = watch::Sender::new(true);
        let stop = watch::Sender::new(false);
        let driver = tokio::spawn(drive(source, taken.clone(), flowing.subscribe(), stop.subscribe()));
        let port = local.endpoint().address().unwrap().port();
        Endpoint { port, taken, flowing, stop, driver, commands, numbers: 0, _connections: connections }
    }
}

/// The sink of the devices' commands, on a connection.
pub async fn commands(connections: &Connections) -> EmbeddedCommands {
    let topic = "devices/{device_id}/commands".to_owned();
    let spec = CommandsSpec { connection: "local".to_owned(), topic };
    let commands = checked(connections, |cx| EmbeddedCommands::check(spec, cx));
    EmbeddedCommands::build(&commands, &context("sessions.commands")).await.unwrap()
}

fn context(stage: &str) -> BuildContext {
    BuildContext {
        topology: "t".into(),
        stage: stage.into(),
        clock: Clock::system(),
        epoch: Epoch(1),
        topics: Arc::new(Topics::default()),
        marks: None,
        store: Arc::<MemoryStore>::default(),
        ports: Ports::default(),
        peers: Peers::default(),
        downstream: [].into(),
    }
}

/// What came out of the endpoint.
#[derive(Default)]
pub struct Taken {
    pub records: Vec<Record>,
    pub rejected: Vec<RejectedRecord>,
}

/// An endpoint that listens.
pub struct Endpoint {
    pub port: u16,
    pub taken: Arc<Mutex<Taken>>,
    flowing: watch::Sender<bool>,
    stop: watch::Sender<bool>,
    driver: JoinHandle<()>,
    pub commands: EmbeddedCommands,
    numbers: u64,
    _connections: Connections,
}

impl Endpoint {
    /// Nothing is read or acknowledged any more: the sinks do not answer, and all mailboxes are full.
    pub fn hold(&self) {
        self.flowing.send_replace(false);
    }

    /// The sinks answer again.
    pub fn flow(&self) {
        self.flowing.send_replace(true);
    }

    /// Waits until `count` records are there, and no more; their payloads.
    pub async fn records(&self, count: usize) -> Vec<Record> {
        let found = || self.taken.lock().unwrap().records.len();
        eventually(SOON, &format!("{count} records"), async || (found() >= count).then_some(())).await;
        let records = self.taken.lock().unwrap().records.clone();
        assert_eq!(records.len(), count);
        records
    }

    /// The payloads of `count` records, as texts.
    pub async fn payloads(&self, count: usize) -> Vec<String> {
        let text = |record: Record| String::from_utf8(record.payload.to_vec()).unwrap();
        self.records(count).await.into_iter().map(text).collect()
    }

    /// The reasons of `count` dead letters, in order.
    pub async fn dead(&self, count: usize) -> Vec<&'static str> {
        let found = || self.taken.lock().unwrap().rejected.iter().map(|r| r.why.reason.0).collect::<Vec<_>>();
        eventually(SOON, &format!("{count} dead letters"), async || (found().len() >= count).then_some(())).await;
        let found = found();
        assert_eq!(found.len(), count, "{found:?}");
        found
    }

    /// Submits a command as the session stage does; what becomes of it.
    pub async fn command(&mut self, device: &str, payload: &str) -> Submitted {
        self.numbers += 1;
        let number = self.numbers;
        self.command_as(device, payload, number).await
    }

    /// Submits a command with an id of its own.
    pub async fn command_as(&mut self, device: &str, payload: &str, id: u64) -> Submitted {
        let now = Clock::system().now();
        let id = EventId(Ulid(id.into()));
        let record = Record::new(id, device.parse().unwrap(), Kind::Command, payload.to_owned().into(), now);
        let batch = Arc::new(Batch::new(0, vec![record], Guards::none()));
        soon("the fate of a command", self.commands.submit(batch).await).await
    }

    /// Ends it as the engine does when the topology stops.
    pub async fn close(self) {
        self.flow();
        self.stop.send_replace(true);
        soon("the end of the endpoint", self.driver).await.unwrap();
    }

    /// Ends it as a crash does, as far as that is possible within a process.
    pub async fn crash(self) {
        self.driver.abort();
        let _ = self.driver.await;
    }
}

async fn drive(
    source: EmbeddedIngress,
    taken: Arc<Mutex<Taken>>,
    mut flowing: watch::Receiver<bool>,
    mut stop: watch::Receiver<bool>,
) {
    let (mut reader, mut acker) = source.split();
    loop {
        flowing.wait_for(|flowing| *flowing).await.unwrap();
        let event = tokio::select! {
            event = reader.next(1000) => event.unwrap(),
            _ = flowing.wait_for(|flowing| !flowing) => continue,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match event {
            SourceEvent::Assigned { partitions, reply } => {
                assert_eq!(partitions, [0]);
                reply.send(vec![(0, ResumeAt::Committed)]).unwrap();
            }
            SourceEvent::Batch(batch) => {
                {
                    let mut taken = taken.lock().unwrap();
                    taken.rejected.extend(batch.rejected);
                    taken.records.extend(batch.records.into_iter().filter(|record| record.kind != Kind::Mark));
                }
                acker.acknowledge(vec![(0, batch.tag)]).await.unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
    acker.close().await.unwrap();
    assert!(matches!(reader.next(1).await, Ok(SourceEvent::End)));
}
