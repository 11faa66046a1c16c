//! `mqtt_commands` on an `embedded` connection: the sink that hands commands to devices' sessions.
//!
//! A command is delivered when
//! - it is on disk in a session that outlives its connection, from where the device gets it at QoS 1, again after every
//!   reconnect, until it has acknowledged it; or
//! - the device has acknowledged it, where its session ends with its connection.
//!
//! A device that has not subscribed, whose queue is full, or that does not acknowledge in time gets the command into the
//! dead letters, with the reason. Commands are sent at once, in order; what waits for one slow device is the answer of
//! its batch, not the commands of others.

use std::sync::Arc;
use std::time::Duration;

use telemill_engine::batch::Batch;
use telemill_engine::context::{BuildContext, CheckContext};
use telemill_engine::record::Reason;
use telemill_engine::sink::{Completion, Rejection, Sink, Submitted};
use telemill_engine::stage::{BuildError, Component};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::hub::{Handed, Hub};
use super::store::{Change, Store};
use crate::embedded::EmbeddedConnection;
use crate::mqtt::TopicTemplate;
use crate::mqtt_commands::MqttCommandsSpec;

/// How many batches may wait for their answers.
const WINDOW: usize = 64;
/// How long a device whose session ends with its connection may take to acknowledge a command.
const ACK_WITHIN: Duration = Duration::from_secs(10);

/// The device has no session with a subscription for its commands.
const NOT_SUBSCRIBED: Reason = Reason("not_subscribed");
/// Too many commands wait in the device's session.
const QUEUE_FULL: Reason = Reason("queue_full");
/// The device did not acknowledge it.
const NOT_ACKNOWLEDGED: Reason = Reason("not_acknowledged");

/// `mqtt_commands` on an `embedded` connection, proven.
#[derive(Clone, Debug)]
pub struct EmbeddedCommandsChecked {
    connection: Arc<EmbeddedConnection>,
    topic: TopicTemplate,
}

impl EmbeddedCommandsChecked {
    /// Proves the spec where it stands inside another one: `at` is its place there, empty for its own.
    pub fn check_at(spec: &MqttCommandsSpec, at: &str, cx: &mut CheckContext<'_>) -> Option<Self> {
        let place = |field: &str| if at.is_empty() { field.to_owned() } else { format!("{at}.{field}") };
        let connection = cx.connection::<EmbeddedConnection>(&place("connection"), &spec.connection)?;
        let topic = connection.endpoint().settings().commands.clone();
        if topic.filter() != spec.topic.replace(crate::mqtt::DEVICE_LEVEL, "+") {
            let message = format!("devices of this endpoint get their commands on another topic than `{}`", spec.topic);
            let hint = "write the same topic here and in the connection's `commands:`";
            cx.problem(place("topic"), "mqtt_commands::topic", message, hint);
            return None;
        }
        Some(EmbeddedCommandsChecked { connection, topic })
    }
}

/// A sink that hands commands to devices' sessions.
pub struct EmbeddedCommands {
    topic: TopicTemplate,
    hub: Arc<Hub>,
    store: Store,
}

impl Component for EmbeddedCommands {
    const KIND: &'static str = "mqtt_commands";
    type Spec = MqttCommandsSpec;
    type Checked = EmbeddedCommandsChecked;

    fn check(spec: Self::Spec, cx: &mut CheckContext<'_>) -> Option<Self::Checked> {
        EmbeddedCommandsChecked::check_at(&spec, "", cx)
    }

    async fn build(checked: &Self::Checked, _: &BuildContext) -> Result<Self, BuildError> {
        let endpoint = checked.connection.endpoint();
        let store = endpoint.store(&checked.connection).await?;
        Ok(EmbeddedCommands { topic: checked.topic.clone(), hub: endpoint.hub().clone(), store })
    }
}

/// What a record of a batch waits for.
enum Waiting {
    /// For any of these devices.
    Sent(usize, Vec<oneshot::Receiver<()>>),
    Refused(Rejection),
}

impl Sink for EmbeddedCommands {
    fn window(&self) -> usize {
        WINDOW
    }

    async fn submit(&mut self, batch: Arc<Batch>) -> Completion {
        let mut waiting = Vec::new();
        let (mut promised, mut changes) = (Vec::new(), Vec::new());
        for (index, record) in batch.records.iter().enumerate().filter(|(_, record)| record.dead.is_none()) {
            let topic = self.topic.topic_of(&record.device);
            let (mut kept, mut sent, mut refused) = (false, Vec::new(), None);
            for handed in self.hub.hand_in(&topic, record.id, &record.payload) {
                match handed {
                    Handed::Keep(promise, change) => {
                        kept = true;
                        promised.push(promise);
                        changes.push(change);
                    }
                    Handed::Known => kept = true,
                    Handed::Sent(taken) => sent.push(taken),
                    Handed::Nobody => refused = Some((NOT_SUBSCRIBED, "the device has not subscribed to its commands")),
                    Handed::Full => refused = Some((QUEUE_FULL, "too many commands wait for the device")),
                }
            }
            match refused {
                _ if kept => {}
                Some((reason, why)) if sent.is_empty() => waiting.push(Waiting::Refused(rejection(index, reason, why))),
                _ => waiting.push(Waiting::Sent(index, sent)),
            }
        }
        let durable = self.keep(promised, changes);
        Box::pin(async move {
            if let Err(detail) = durable.await {
                return Submitted::Retry { reason: Reason("disk"), detail, after: None };
            }
            let mut refused = Vec::new();
            let deadline = Instant::now() + ACK_WITHIN;
            for waiting in waiting {
                match waiting {
                    Waiting::Refused(rejection) => refused.push(rejection),
                    Waiting::Sent(index, taken) => {
                        let first = futures_util::future::select_ok(taken);
                        if !matches!(timeout_at(deadline, first).await, Ok(Ok(_))) {
                            let why = "the device did not acknowledge the command";
                            refused.push(rejection(index, NOT_ACKNOWLEDGED, why));
                        }
                    }
                }
            }
            match refused.is_empty() {
                true => Submitted::Delivered,
                false => Submitted::Rejected { records: refused, others_applied: true },
            }
        })
    }
}

impl EmbeddedCommands {
    /// Makes commands durable, and hands them over then, in the order of the calls.
    fn keep(
        &self,
        promised: Vec<super::hub::Promised>,
        changes: Vec<Change>,
    ) -> impl Future<Output = Result<(), String>> + Send + use<> {
        let (hub, store) = (self.hub.clone(), self.store.clone());
        // Begins now, not when the completion is polled: batches are made durable in the order of their submission.
        let task = (!changes.is_empty()).then(|| tokio::spawn(commit(hub, store, promised, changes)));
        async move {
            match task {
                None => Ok(()),
                Some(task) => task.await.unwrap_or_else(|error| Err(format!("writing commands failed: {error}"))),
            }
        }
    }
}

async fn commit(
    hub: Arc<Hub>,
    store: Store,
    promised: Vec<super::hub::Promised>,
    changes: Vec<Change>,
) -> Result<(), String> {
    // Whoever takes them out first hands them over, or lets go of them.
    let promised = Arc::new(std::sync::Mutex::new(promised));
    let settle = {
        let (hub, promised) = (hub.clone(), promised.clone());
        move |durable: bool| -> Vec<Change> {
            let promised = std::mem::take(&mut *promised.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
            promised.into_iter().filter_map(|promised| hub.hand_over(promised, durable)).collect()
        }
    };
    let then = {
        let settle = settle.clone();
        // The sessions of those that are left over ended meanwhile; a restart finds no session for them and lets them be.
        move || drop(settle(true))
    };
    match store.commit_then(changes, then).await {
        Ok(()) => Ok(()),
        Err(error) => {
            settle(false);
            Err(error.to_string())
        }
    }
}

fn rejection(index: usize, reason: Reason, why: &str) -> Rejection {
    Rejection { index, reason, detail: why.to_owned(), permanent: true }
}
