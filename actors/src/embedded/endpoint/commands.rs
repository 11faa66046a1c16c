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

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};

use telemill_engine::batch::Batch;
use telemill_engine::context::{BuildContext, CheckContext, Connection};
use telemill_engine::record::Reason;
use telemill_engine::registry::CommandsSpec;
use telemill_engine::sink::{Completion, Rejection, Sink, Submitted};
use telemill_engine::stage::{BuildError, Component};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::hub::{Handed, Hub, Promised};
use super::store::{Change, Store};
use crate::embedded::EmbeddedConnection;
use crate::mqtt::{DEVICE_LEVEL, TopicTemplate};

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

/// A sink that hands commands to devices' sessions.
pub struct EmbeddedCommands {
    topic: TopicTemplate,
    hub: Arc<Hub>,
    store: Store,
}

impl Component for EmbeddedCommands {
    const KIND: &'static str = "mqtt_commands";
    const CONNECTION: &'static str = EmbeddedConnection::KIND;
    type Spec = CommandsSpec;
    type Checked = EmbeddedCommandsChecked;

    fn check(spec: Self::Spec, cx: &mut CheckContext<'_>) -> Option<Self::Checked> {
        let connection = cx.connection::<EmbeddedConnection>("connection", &spec.connection)?;
        let topic = connection.endpoint().settings().commands.clone();
        if topic.filter() != spec.topic.replace(DEVICE_LEVEL, "+") {
            let message = format!("devices of this endpoint get their commands on another topic than `{}`", spec.topic);
            let hint = "write the same topic here and in the connection's `commands:`";
            cx.problem("topic", "mqtt_commands::topic", message, hint);
            return None;
        }
        Some(EmbeddedCommandsChecked { connection, topic })
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
        let durable = self.keep(promised, changes).await;
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
    /// Makes commands durable, and hands them over then: in the order of the calls, and in any case to the end.
    async fn keep(&self, promised: Vec<Promised>, changes: Vec<Change>) -> BoxFuture<'static, Result<(), String>> {
        if changes.is_empty() {
            return Box::pin(async { Ok(()) });
        }
        let mut writing = commit(self.hub.clone(), self.store.clone(), promised, changes).boxed();
        // Its place in the disk's queue is taken before the next batch comes.
        if let Poll::Ready(written) = futures_util::poll!(&mut writing) {
            return Box::pin(async { written });
        }
        let task = tokio::spawn(writing);
        Box::pin(async {
            task.await.unwrap_or_else(|error| Err(format!("the task that writes commands is gone: {error}")))
        })
    }
}

async fn commit(hub: Arc<Hub>, store: Store, promised: Vec<Promised>, changes: Vec<Change>) -> Result<(), String> {
    // Taken out once: when the changes are durable, or when it is known that they are not.
    let promised = Arc::new(Mutex::new(promised));
    let stale = Arc::<Mutex<Vec<Change>>>::default();
    let settle = {
        let stale = stale.clone();
        move |durable: bool| {
            let promised = std::mem::take(&mut *locked(&promised));
            let gone = promised.into_iter().filter_map(|promised| hub.hand_over(promised, durable));
            locked(&stale).extend(gone);
        }
    };
    let then = settle.clone();
    let written = store.commit_then(changes, move || then(true)).await;
    settle(written.is_ok());
    // Those whose sessions have ended meanwhile.
    let stale = std::mem::take(&mut *locked(&stale));
    written.map_err(|error| error.to_string())?;
    store.commit(stale).await.map_err(|error| error.to_string())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn rejection(index: usize, reason: Reason, why: &str) -> Rejection {
    Rejection { index, reason, detail: why.to_owned(), permanent: true }
}
