//! One connection of the fleet: publishes what it is handed at QoS 1 until every message is acknowledged.
//!
//! A connection that is lost is made again, and what was not acknowledged goes out again. Only a broker that stays away
//! or does not acknowledge for the whole of the patience ends it, or one that refuses the client.

use std::sync::Arc;
use std::time::Duration;

use rumqttc::{ConnectReturnCode, Packet, Publish};
use telemill_actors::mqtt::MqttConnection;
use telemill_actors::mqtt::backoff::{Backoff, random};
use telemill_actors::mqtt::link::{Link, LinkError};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use super::report::Report;
use super::tally::Tally;
use super::window::Window;

/// How long the broker may be silent; it answers pings meanwhile.
const SILENCE: Duration = Duration::from_secs(15);
const PING_EVERY: Duration = Duration::from_secs(4);
/// Nothing is subscribed, so all that comes are short answers.
const PACKET_LIMIT: usize = 64 << 10;

/// Why it gave up.
#[derive(Debug, Error)]
pub(super) enum GaveUp {
    #[error("{address} refuses the connection: {code:?}")]
    Refused { address: String, code: ConnectReturnCode },
    #[error("{address} was not there for {patience:?}: {reason}")]
    Away { address: String, patience: Duration, reason: String },
    #[error("{address} did not acknowledge a message within {patience:?}")]
    NoAck { address: String, patience: Duration },
}

/// Why a connection ended.
#[derive(Debug, Error)]
enum Down {
    #[error("{0}")]
    Link(#[from] LinkError),
    #[error("the broker was silent for {SILENCE:?}")]
    Silent,
    #[error("the broker does not acknowledge")]
    NoAck,
}

/// What all connections share.
pub(super) struct Shared {
    pub(super) broker: MqttConnection,
    /// How long the broker may be away, or may not acknowledge.
    pub(super) patience: Duration,
    pub(super) start: Instant,
    pub(super) tally: Tally,
    pub(super) report: Report,
}

/// One client.
pub(super) struct Connection {
    pub(super) shared: Arc<Shared>,
    /// Which one it is, from 1.
    pub(super) number: u32,
    pub(super) client_id: String,
    pub(super) messages: mpsc::Receiver<Publish>,
    pub(super) window: Window,
}

impl Connection {
    /// Runs until there are no more messages and all are acknowledged.
    pub(super) async fn run(mut self) -> Result<(), GaveUp> {
        let address = self.shared.broker.address();
        let patience = self.shared.patience;
        let mut backoff = Backoff::default();
        let mut last_there = Instant::now();
        loop {
            let options = self.shared.broker.options(&self.client_id, true, PACKET_LIMIT);
            let (lasted, down) = match Link::connect(options).await {
                Ok((link, _)) => {
                    let since = Instant::now();
                    match self.serve(link, &mut last_there).await {
                        Ok(()) => return Ok(()),
                        Err(down) => (since.elapsed(), down),
                    }
                }
                Err(LinkError::Refused(code)) if code != ConnectReturnCode::ServiceUnavailable => {
                    return Err(GaveUp::Refused { address, code });
                }
                Err(error) => (Duration::ZERO, error.into()),
            };
            if matches!(down, Down::NoAck) {
                return Err(GaveUp::NoAck { address, patience });
            }
            let pause = backoff.after(lasted, random());
            if last_there.elapsed() + pause >= patience {
                return Err(GaveUp::Away { address, patience, reason: down.to_string() });
            }
            // When the broker goes all of them lose it, and one line is enough.
            if backoff.failures() == 1 && self.number == 1 {
                self.shared.report.note(&format!("{address}: {down}; trying again for {patience:?}"));
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Publishes over one connection. `heard` is when the broker last said something.
    async fn serve(&mut self, mut link: Link, heard: &mut Instant) -> Result<(), Down> {
        *heard = Instant::now();
        let again = self.window.again();
        self.shared.tally.resend(again.len() as u64);
        link.send(again.into_iter().map(Packet::Publish)).await?;
        let mut ping = tokio::time::interval(PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut more = Vec::new();
        let mut open = true;
        loop {
            if !open && self.window.is_empty() {
                return Ok(link.send([Packet::Disconnect]).await?);
            }
            let room = self.window.room();
            tokio::select! {
                packet = link.read() => {
                    self.take(packet?);
                    while let Some(packet) = link.read_now() {
                        self.take(packet?);
                    }
                    *heard = Instant::now();
                }
                received = self.messages.recv_many(&mut more, room), if open && room > 0 => {
                    open = received > 0;
                    let now = self.shared.start.elapsed();
                    let window = &mut self.window;
                    link.send(more.drain(..).map(|publish| Packet::Publish(window.send(publish, now)))).await?;
                }
                now = ping.tick() => {
                    if now.duration_since(*heard) > SILENCE {
                        return Err(Down::Silent);
                    }
                    let oldest = self.window.oldest().map(|at| self.shared.start.elapsed().saturating_sub(at));
                    if oldest.is_some_and(|waits| waits > self.shared.patience) {
                        return Err(Down::NoAck);
                    }
                    link.send([Packet::PingReq]).await?;
                }
            }
        }
    }

    fn take(&mut self, packet: Packet) {
        if let Packet::PubAck(ack) = packet
            && let Some(first_at) = self.window.settle(ack.pkid)
        {
            self.shared.tally.acknowledge(self.shared.start.elapsed().saturating_sub(first_at));
        }
    }
}
