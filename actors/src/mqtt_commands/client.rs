//! The client that publishes commands: one connection after the other, one batch at a time.
//!
//! A batch is done when the broker has acknowledged every command in it. When the connection ends before that, the batch
//! is given back to be submitted again: some of its commands may then be sent twice, with the same command id.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rumqttc::{Packet, Publish, QoS};
use telemill_engine::peers::Peer;
use telemill_engine::record::Reason;
use telemill_engine::sink::Submitted;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};

use super::outstanding::Outstanding;
use crate::mqtt::MqttConnection;
use crate::mqtt::backoff::{Backoff, random};
use crate::mqtt::link::{Link, LinkError};

/// How many commands are on their way to the broker at a time.
const WINDOW: usize = 64;
/// How long the broker may take to acknowledge a command while it answers pings.
const ACK_WITHIN: Duration = Duration::from_secs(30);
/// Nothing is subscribed, so all that comes are short answers.
const PACKET_LIMIT: usize = 64 << 10;

/// Commands to publish, and who wants to hear.
pub(super) struct Job {
    /// Topic and payload.
    pub(super) commands: Vec<(String, Bytes)>,
    pub(super) done: oneshot::Sender<Submitted>,
}

/// Not now: the broker is not there.
pub(super) fn retry(detail: impl Into<String>) -> Submitted {
    Submitted::Retry { reason: Reason("broker_unavailable"), detail: detail.into(), after: None }
}

/// What the client is.
pub(super) struct Client {
    pub(super) topology: Arc<str>,
    pub(super) stage: Arc<str>,
    pub(super) connection: Arc<MqttConnection>,
    pub(super) client_id: String,
    pub(super) jobs: mpsc::Receiver<Job>,
    /// The broker, for those who look at the stage.
    pub(super) broker: Peer,
}

#[derive(Debug, Error)]
enum Down {
    #[error("{0}")]
    Link(#[from] LinkError),
    #[error("the broker was silent for {0:?}")]
    Silent(Duration),
    #[error("the broker did not acknowledge a command within {0:?}")]
    NoAck(Duration),
}

/// A batch on its way.
struct Running {
    job: Job,
    next: usize,
    since: Instant,
}

impl Client {
    /// Runs until nobody can submit any more.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::default();
        loop {
            let (lasted, down) = match self.connect().await {
                Ok(link) => {
                    self.broker.back();
                    let since = Instant::now();
                    match self.serve(link).await {
                        Ok(()) => return,
                        Err(down) => (since.elapsed(), down),
                    }
                }
                Err(error) => (Duration::ZERO, error.into()),
            };
            self.broker.lost(&down);
            let pause = backoff.after(lasted, random());
            if backoff.failures() == 1 {
                tracing::warn!(
                    code = "mqtt::disconnected", topology = %self.topology, stage = %self.stage,
                    broker = %self.connection.address(), error = %down, ?pause,
                    "the connection to the broker is gone; commands wait until it is back"
                );
            }
            if !self.pause(Instant::now() + pause, &down).await {
                return;
            }
        }
    }

    async fn connect(&self) -> Result<Link, LinkError> {
        let options = self.connection.options(&self.client_id, true, PACKET_LIMIT);
        Ok(Link::connect(options).await?.0)
    }

    /// Gives back what is submitted while there is no connection; false when nobody can submit any more.
    async fn pause(&mut self, until: Instant, down: &Down) -> bool {
        while let Ok(job) = tokio::time::timeout_at(until, self.jobs.recv()).await {
            let Some(job) = job else { return false };
            // Nobody listens when the stage has gone meanwhile.
            let _ = job.done.send(retry(down.to_string()));
        }
        true
    }

    /// Publishes batch after batch; returns `Ok` when nobody can submit any more.
    async fn serve(&mut self, mut link: Link) -> Result<(), Down> {
        let keep_alive = self.connection.keep_alive;
        let mut ping = tokio::time::interval(keep_alive / 4);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        let mut outstanding = Outstanding::new(WINDOW);
        let mut running: Option<Running> = None;
        loop {
            if let Some(batch) = &mut running {
                link.send(batch.publishes(&mut outstanding)).await?;
                if batch.is_sent() && outstanding.is_empty() {
                    let done = running.take().map(|batch| batch.job.done);
                    // Nobody listens when the stage has gone meanwhile.
                    let _ = done.map(|done| done.send(Submitted::Delivered));
                }
            }
            tokio::select! {
                packet = link.read() => {
                    heard = Instant::now();
                    if let Packet::PubAck(ack) = packet?
                        && outstanding.settle(ack.pkid)
                        && let Some(batch) = &mut running
                    {
                        batch.since = heard;
                    }
                }
                job = self.jobs.recv(), if running.is_none() => match job {
                    Some(job) => running = Some(Running { job, next: 0, since: Instant::now() }),
                    None => return Ok(link.leave().await?),
                },
                now = ping.tick() => {
                    if now - heard > keep_alive * 3 / 2 {
                        return Err(Down::Silent(now - heard));
                    }
                    if running.as_ref().is_some_and(|batch| now - batch.since > ACK_WITHIN) {
                        return Err(Down::NoAck(ACK_WITHIN));
                    }
                    link.send([Packet::PingReq]).await?;
                }
            }
        }
    }
}

impl Running {
    fn is_sent(&self) -> bool {
        self.next == self.job.commands.len()
    }

    /// As many more as the window has room for.
    fn publishes(&mut self, outstanding: &mut Outstanding) -> Vec<Packet> {
        let mut packets = Vec::new();
        while let Some((topic, payload)) = self.job.commands.get(self.next) {
            let Some(packet_id) = outstanding.issue() else { break };
            let mut publish = Publish::from_bytes(topic, QoS::AtLeastOnce, payload.clone());
            publish.pkid = packet_id;
            packets.push(Packet::Publish(publish));
            self.next += 1;
        }
        packets
    }
}
