//! `mqtt_ingress` on an `embedded` connection: devices connect to this process.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use telemill_engine::context::{BuildContext, CheckContext, Connection};
use telemill_engine::position::Partition;
use telemill_engine::registry::{Description, MarksRole};
use telemill_engine::source::{Acker, ResumeAt, Source, SourceError, SourceEvent, SourceReader};
use telemill_engine::stage::{BuildError, Component};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::warn;

use super::gate::Gate;
use super::intake::{Found, Intake, PARTITION};
use super::listener::Listener;
use super::machine::Bounds;
use super::meters::Meters;
use super::shared::Shared;
use super::tls;
use crate::embedded::EmbeddedConnection;
use crate::ingress::{IngressChecked, MqttIngressSpec, Routes, check_spec, packet_limit};

/// The longest client id, in bytes.
const CLIENT_ID: usize = 256;
/// How far turns are apart at least, where a few records are all that there is for the next. At 2,000 records/s from 50
/// devices this about halves the CPU time of the whole process, and a PUBACK comes some 3 ms later.
const GATHER: Duration = Duration::from_millis(3);
/// How long a graceful end may take, before all connections are cut.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);

/// `mqtt_ingress` on an `embedded` connection, proven.
#[derive(Clone, Debug)]
pub struct EmbeddedIngressChecked {
    connection: Arc<EmbeddedConnection>,
    ingress: IngressChecked,
}

/// A source that devices connect to.
pub struct EmbeddedIngress {
    reader: EmbeddedReader,
    acker: EmbeddedAcker,
}

/// The reading half of an [`EmbeddedIngress`].
pub struct EmbeddedReader {
    intake: Arc<Intake>,
    /// The engine was asked for the partition.
    reply: Option<oneshot::Receiver<Vec<(Partition, ResumeAt)>>>,
    /// Until then few records wait for more.
    next_turn: Instant,
}

/// The acknowledging half of an [`EmbeddedIngress`]. The endpoint listens as long as it lives.
pub struct EmbeddedAcker {
    intake: Arc<Intake>,
    stop: Arc<Notify>,
    task: Task,
}

/// A task that ends with its owner.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Component for EmbeddedIngress {
    const KIND: &'static str = "mqtt_ingress";
    const CONNECTION: &'static str = EmbeddedConnection::KIND;
    type Spec = MqttIngressSpec;
    type Checked = EmbeddedIngressChecked;

    fn check(spec: Self::Spec, cx: &mut CheckContext<'_>) -> Option<Self::Checked> {
        let before = cx.problems.len();
        let connection = cx.connection::<EmbeddedConnection>("connection", &spec.connection);
        let ingress = check_spec(&spec, cx);
        if let Some(connection) = &connection {
            let commands = &connection.endpoint().settings().commands;
            for (index, text) in spec.topics.iter().enumerate() {
                if ingress
                    .routes
                    .iter()
                    .any(|r| r.template.filter() == template_filter(text) && r.template.overlaps(commands))
                {
                    let message = format!("`{text}` is where devices get their commands");
                    let hint = "devices publish to one topic and get commands on another";
                    cx.problem(format!("topics[{index}]"), "mqtt_ingress::commands_topic", message, hint);
                }
            }
        }
        let connection = connection?;
        (cx.problems.len() == before).then_some(EmbeddedIngressChecked { connection, ingress })
    }

    fn describe(checked: &Self::Checked) -> Description {
        let lets_in = Some(packet_limit(checked.ingress.limits) as u64);
        Description { marks: MarksRole::Emits, lets_in, ..Description::default() }
    }

    async fn build(checked: &Self::Checked, cx: &BuildContext) -> Result<Self, BuildError> {
        let endpoint = checked.connection.endpoint();
        let settings = endpoint.settings();
        let tls = settings.tls.as_ref().map(tls::acceptor).transpose()?;
        let certificates = settings.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        let gate = Gate::open(settings.users.as_ref(), certificates)?;
        if settings.users.is_some() && tls.is_none() && !settings.listen.ip().is_loopback() {
            warn!(
                code = "mqtt_endpoint::readable_passwords", topology = %cx.topology, stage = %cx.stage,
                listen = %settings.listen, "devices' passwords cross the network readable; add `tls:` to the connection"
            );
        }
        let store = endpoint.store(&checked.connection).await?;
        let IngressChecked { routes, limits, .. } = checked.ingress.clone();
        let intake = Arc::new(Intake::new(cx.stage.clone(), cx.clock.now()));
        let bounds = Bounds {
            packet: u32::try_from(packet_limit(limits)).unwrap_or(u32::MAX),
            topic: settings.limits.topic,
            client_id: CLIENT_ID,
            receive_maximum: settings.limits.inflight,
        };
        let shared = Arc::new(Shared {
            topology: cx.topology.clone(),
            stage: cx.stage.clone(),
            clock: cx.clock.clone(),
            hub: endpoint.hub().clone(),
            store,
            intake: intake.clone(),
            gate,
            routes: Routes { routes, limits },
            limits: settings.limits,
            bounds,
            meters: Meters::new(cx, Self::KIND),
        });
        let socket = endpoint.bind().await?;
        let stop = Arc::new(Notify::new());
        let listener = Listener { shared, socket, tls, stop: stop.clone() };
        let task = Task(tokio::spawn(listener.run()));
        let reader = EmbeddedReader { intake: intake.clone(), reply: None, next_turn: Instant::now() };
        Ok(EmbeddedIngress { reader, acker: EmbeddedAcker { intake, stop, task } })
    }
}

fn template_filter(text: &str) -> String {
    text.replace(crate::mqtt::DEVICE_LEVEL, "+")
}

impl Source for EmbeddedIngress {
    type Reader = EmbeddedReader;
    type Acker = EmbeddedAcker;

    fn split(self) -> (Self::Reader, Self::Acker) {
        (self.reader, self.acker)
    }
}

impl SourceReader for EmbeddedReader {
    fn serving(&self) -> BoxFuture<'static, ()> {
        self.intake.serving().boxed()
    }

    async fn next(&mut self, max_records: usize) -> Result<SourceEvent, SourceError> {
        loop {
            if let Some(reply) = &mut self.reply {
                // What devices send again is their business; that there is an answer is what counts. None will come when
                // the topology stops.
                let assigned = reply.await.is_ok();
                self.reply = None;
                if assigned {
                    self.intake.assigned();
                }
            }
            match self.intake.take(max_records, Instant::now() < self.next_turn) {
                Found::Event(event) => {
                    self.next_turn = Instant::now() + GATHER;
                    return event;
                }
                Found::Nothing => self.intake.readable().await,
                Found::Few => {
                    // Either way is looked again.
                    let _ = tokio::time::timeout_at(self.next_turn, self.intake.readable()).await;
                }
                Found::Unassigned => {
                    let (reply, answer) = oneshot::channel();
                    self.reply = Some(answer);
                    return Ok(SourceEvent::Assigned { partitions: vec![PARTITION], reply });
                }
            }
        }
    }
}

impl Acker for EmbeddedAcker {
    async fn acknowledge(&mut self, batches: Vec<(Partition, u64)>) -> Result<(), SourceError> {
        self.intake.acknowledge(batches.into_iter().map(|(_, tag)| tag));
        Ok(())
    }

    /// What was let go of only its devices can send again, and they do that after a reconnect: all connections end, and
    /// the endpoint is built anew.
    async fn give_back(&mut self, _: Partition, _: u64) -> Result<(), SourceError> {
        self.leave(Some("a batch was let go of; the devices send it again")).await;
        Ok(())
    }

    async fn close(&mut self) -> Result<(), SourceError> {
        self.leave(None).await;
        Ok(())
    }
}

impl EmbeddedAcker {
    async fn leave(&mut self, rebuild: Option<&'static str>) {
        self.stop.notify_one();
        if !self.task.0.is_finished() && tokio::time::timeout(CLOSE_WITHIN, &mut self.task.0).await.is_err() {
            self.task.0.abort();
        }
        self.intake.end(rebuild);
    }
}
