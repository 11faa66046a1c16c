//! `mqtt_ingress`: the source that reads devices' messages from an MQTT broker.
//!
//! What it promises:
//! - A message is acknowledged to the broker when it is safe downstream, or in the dead letters, and not before; in the
//!   order in which the messages came.
//! - What the broker delivers again after a cut or a crash is recognised where that can be done without risk
//!   (`redelivery`), and produced again otherwise. It is never taken for known because of its DUP flag.
//! - The subscription is known to be there: a session that the broker lost, or may have lost, is subscribed anew
//!   (`session`); one that it kept is left alone.
//! - A broker that is gone is waited for. Nothing is reported as an error that time can heal.
//! - Time is proven (`crate::ingress::pulse`): while devices could be heard, a mark a second says so.
//!
//! How it is built: a task (`slot`, `serving`) owns the connection and everything that is known of the session. It meets
//! the reader and the acker, which the engine drives, in one place (`intake`), and waits for neither. What decides is
//! pure and stands apart: `redelivery`, `acks`, `arrival`, and what all ingresses share (`crate::ingress`).
//!
//! Limits of what it can do: a packet above the packet limit ([`MqttIngressChecked::packet_limit`]) cannot be read at
//! all, and a broker that lets it through delivers it again and again; the broker has to refuse it (Mosquitto:
//! `max_packet_size 1048576` for the default `max_payload`). Messages that devices publish at QoS 0 are taken as they
//! come and are lost in any cut, as QoS 0 says.

mod acks;
mod arrival;
mod intake;
mod meters;
mod recall;
mod redelivery;
mod serving;
mod session;
mod slot;
mod spec;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use telemill_engine::checkpoint::StoreError;
use telemill_engine::context::{BuildContext, CheckContext, Connection};
use telemill_engine::position::Partition;
use telemill_engine::registry::{Description, MarksRole};
use telemill_engine::source::{Acker, ResumeAt, Source, SourceError, SourceEvent, SourceReader};
use telemill_engine::stage::{BuildError, Component};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use self::arrival::Inspector;
use self::intake::{Failure, Found, Intake, PARTITION};
use self::meters::Meters;
use self::recall::Recalls;
use self::redelivery::{RECALLED, RedeliveryTable};
use self::session::SlotSession;
use self::slot::Slot;
pub use self::spec::{MqttIngressChecked, MqttIngressSpec, Retained};
use crate::ingress::Routes;
use crate::mqtt::MqttConnection;

/// The one slot of this version.
const SLOT: u16 = 0;

/// How long a graceful end may take, before the connection is cut.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);

/// A source that reads from an MQTT broker.
pub struct MqttIngress {
    reader: MqttReader,
    acker: MqttAcker,
}

/// The reading half of a [`MqttIngress`].
pub struct MqttReader {
    intake: Arc<Intake>,
    /// The engine was asked for the partition.
    reply: Option<oneshot::Receiver<Vec<(Partition, ResumeAt)>>>,
}

/// The acknowledging half of a [`MqttIngress`]. The connection lives as long as it.
pub struct MqttAcker {
    intake: Arc<Intake>,
    task: Task,
}

/// A task that ends with its owner.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Component for MqttIngress {
    const KIND: &'static str = "mqtt_ingress";
    const CONNECTION: &'static str = MqttConnection::KIND;
    type Spec = MqttIngressSpec;
    type Checked = MqttIngressChecked;

    fn check(spec: Self::Spec, cx: &mut CheckContext<'_>) -> Option<Self::Checked> {
        spec::check(spec, cx)
    }

    fn describe(checked: &Self::Checked) -> Description {
        Description { marks: MarksRole::Emits, lets_in: Some(checked.packet_limit() as u64), ..Description::default() }
    }

    async fn build(checked: &Self::Checked, cx: &BuildContext) -> Result<Self, BuildError> {
        let connection = checked.connection.clone();
        connection.check_secret()?;
        let routes = Routes { routes: checked.routes.clone(), limits: checked.limits };
        let mut inspector = Inspector::new(routes, cx.stage.clone());
        let mut table = RedeliveryTable::new(connection.packet_ids);

        let new_id = inspector.next_id(cx.clock.now()).0;
        let (session, found) = SlotSession::load(cx, SLOT, checked.filters(), new_id).await.map_err(build_error)?;
        if found {
            let recalls = Recalls::new(cx, SLOT, RECALLED);
            let recalled = recalls.ask(session.id()).await.map_err(|error| {
                BuildError::Unavailable(format!("a sink cannot say what it has of the MQTT session: {error}"))
            })?;
            table.recall(recalled.safe, recalled.highest);
        }

        // Above the broker's window, so that a broker that keeps it is always read.
        let intake = Intake::new(2 * usize::from(connection.max_inflight) + 1024);
        let broker = cx.peers.peer(connection.peer());
        let slot = Slot {
            topology: cx.topology.clone(),
            stage: cx.stage.clone(),
            number: SLOT,
            client_id: format!("telemill-{}-{}-{SLOT}", cx.topology, cx.stage),
            packet_limit: checked.packet_limit(),
            accept_retained: checked.accept_retained,
            connection,
            intake: intake.clone(),
            inspector,
            table,
            session,
            meters: Meters::new(cx, Self::KIND),
            clock: cx.clock.clone(),
            broker,
            held: VecDeque::new(),
        };
        let task = Task(tokio::spawn(slot.run()));
        let reader = MqttReader { intake: intake.clone(), reply: None };
        Ok(MqttIngress { reader, acker: MqttAcker { intake, task } })
    }
}

fn build_error(error: StoreError) -> BuildError {
    match error {
        StoreError::Unavailable(why) => BuildError::Unavailable(format!("the slot's record cannot be read: {why}")),
        other => BuildError::Impossible(format!("the slot's record cannot be read: {other}")),
    }
}

impl Source for MqttIngress {
    type Reader = MqttReader;
    type Acker = MqttAcker;

    fn split(self) -> (Self::Reader, Self::Acker) {
        (self.reader, self.acker)
    }
}

impl SourceReader for MqttReader {
    fn serving(&self) -> BoxFuture<'static, ()> {
        self.intake.serving().boxed()
    }

    async fn next(&mut self, max_records: usize) -> Result<SourceEvent, SourceError> {
        loop {
            if let Some(reply) = &mut self.reply {
                // Where to begin is the broker's business; that there is an answer is what counts. None will come when
                // the topology stops.
                let assigned = reply.await.is_ok();
                self.reply = None;
                if assigned {
                    self.intake.assigned();
                }
            }
            match self.intake.take(max_records) {
                Found::Event(event) => return event,
                Found::Nothing => self.intake.readable().await,
                Found::Unassigned => {
                    let (reply, answer) = oneshot::channel();
                    self.reply = Some(answer);
                    return Ok(SourceEvent::Assigned { partitions: vec![PARTITION], reply });
                }
            }
        }
    }
}

impl Acker for MqttAcker {
    async fn acknowledge(&mut self, batches: Vec<(Partition, u64)>) -> Result<(), SourceError> {
        self.intake.acknowledge(batches.into_iter().map(|(_, tag)| tag));
        Ok(())
    }

    /// The source ends, to be built again when nothing of it is in flight any more: only then can the sinks tell what
    /// they have of what was behind this batch. The broker delivers all of it again, and what the sinks have is known.
    async fn give_back(&mut self, _: Partition, _: u64) -> Result<(), SourceError> {
        self.leave(Some(Failure::Rebuild("a batch was let go of; it is read again"))).await;
        Ok(())
    }

    async fn close(&mut self) -> Result<(), SourceError> {
        self.leave(None).await;
        Ok(())
    }
}

impl MqttAcker {
    async fn leave(&mut self, why: Option<Failure>) {
        self.intake.close(why);
        if !self.task.0.is_finished() && tokio::time::timeout(CLOSE_WITHIN, &mut self.task.0).await.is_err() {
            self.task.0.abort();
        }
    }
}
