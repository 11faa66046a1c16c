//! The life of a slot: one connection after the other, for as long as the topology runs.
//!
//! A slot is a task of its own. It alone talks to the broker, knows the session, and numbers productions. Between two
//! connections it holds what had arrived and was not handed out: what happens to that depends on the next CONNACK. When
//! the session is resumed the broker will send it again, so it is dropped; when the session is lost nobody else has it
//! any more, so it is handed out, without an acknowledgement to wait for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use telemill_engine::checkpoint::StoreError;
use telemill_engine::clock::Clock;
use telemill_engine::peers::Peer;
use thiserror::Error;
use tokio::time::Instant;

use super::arrival::Inspector;
use super::intake::{Failure, Intake, Item, Orders};
use super::meters::Meters;
use super::redelivery::RedeliveryTable;
use super::serving::Serving;
use super::session::{Beginning, SlotSession};
use crate::mqtt::MqttConnection;
use crate::mqtt::backoff::{Backoff, random};
use crate::mqtt::link::{Link, LinkError};

/// What a slot is made of.
pub(super) struct Slot {
    pub(super) topology: Arc<str>,
    pub(super) stage: Arc<str>,
    pub(super) number: u16,
    pub(super) connection: Arc<MqttConnection>,
    pub(super) client_id: String,
    pub(super) packet_limit: usize,
    pub(super) accept_retained: bool,
    pub(super) intake: Arc<Intake>,
    pub(super) inspector: Inspector,
    pub(super) table: RedeliveryTable,
    pub(super) session: SlotSession,
    pub(super) meters: Meters,
    pub(super) clock: Clock,
    /// The broker, for those who look at the stage.
    pub(super) broker: Peer,
    /// What had arrived on the last connection and was not handed out.
    pub(super) held: VecDeque<Item>,
}

/// Why a connection ended.
#[derive(Debug, Error)]
pub(super) enum Down {
    #[error("{0}")]
    Link(#[from] LinkError),
    #[error("the slot's record cannot be written: {0}")]
    Store(#[from] StoreError),
    #[error("the broker was silent for {0:?}")]
    Silent(Duration),
    #[error("the broker does not grant a subscription to `{0}` at QoS 1; its access rules must allow it")]
    NotGranted(String),
    #[error("the broker sent what it may not send: {0}")]
    Protocol(String),
}

impl Down {
    /// Whether trying again can only do harm: somebody else owns the slot, or its record is not ours.
    fn is_final(&self) -> bool {
        matches!(self, Down::Store(error) if !matches!(error, StoreError::Unavailable(_)))
    }
}

/// Tells the reader when the task ends, however it does.
struct EndsWithTask(Arc<Intake>);

impl Drop for EndsWithTask {
    fn drop(&mut self) {
        self.0.end(Some(Failure::Rebuild("the MQTT client's task has ended")));
    }
}

impl Slot {
    /// Runs until it is told to close, or must not go on.
    pub(super) async fn run(mut self) {
        let ended = EndsWithTask(self.intake.clone());
        let why = self.live().await;
        ended.0.end(why);
    }

    async fn live(&mut self) -> Option<Failure> {
        let mut backoff = Backoff::default();
        loop {
            // Without the engine's word nothing is read.
            let assigned = |orders: Orders| orders.assigned;
            if !self.wait(assigned, None).await {
                return None;
            }
            let mut connected = None;
            let down = match self.connect(&mut connected).await {
                Ok(()) => return None,
                Err(down) => down,
            };
            self.hold();
            if down.is_final() {
                return Some(Failure::Broken(down.to_string()));
            }
            let lasted = connected.map_or(Duration::ZERO, |at: Instant| at.elapsed());
            let pause = backoff.after(lasted, random());
            self.report(&down, pause, backoff.failures());
            if !self.wait(|_| false, Some(Instant::now() + pause)).await {
                return None;
            }
        }
    }

    /// Waits for an order, or until a time; false when the order is to close.
    async fn wait(&mut self, enough: impl Fn(Orders) -> bool, until: Option<Instant>) -> bool {
        loop {
            let orders = self.look();
            if orders.closing {
                return false;
            }
            if enough(orders) {
                return true;
            }
            let intake = self.intake.clone();
            match until {
                None => intake.woken().await,
                Some(until) => {
                    if tokio::time::timeout_at(until, intake.woken()).await.is_err() {
                        return true;
                    }
                }
            }
        }
    }

    /// Asks for orders, and takes note of what has become safe.
    pub(super) fn look(&mut self) -> Orders {
        let orders = self.intake.orders();
        self.table.acknowledge(orders.safe);
        orders
    }

    /// One connection, from before it is made until it ends; returns `Ok` when it was told to close.
    async fn connect(&mut self, connected: &mut Option<Instant>) -> Result<(), Down> {
        self.session.before_connect().await?;
        let options = self.connection.options(&self.client_id, false, self.packet_limit);
        let (link, resumed) = Link::connect(options).await.inspect_err(|error| {
            // A CONNECT may have been sent and may have made a session; its answer was not seen.
            if matches!(error, LinkError::Closed | LinkError::Lost(_) | LinkError::TooLarge(_)) {
                self.session.doubt();
            }
            // What was sent before an orderly end would have been read before it.
            if matches!(error, LinkError::Lost(_) | LinkError::TooLarge(_)) {
                self.table.disconnected(None);
            }
        })?;
        *connected = Some(Instant::now());
        self.meters.connects.increment(1);
        let now = self.clock.now();
        let beginning = self.session.begin(resumed, || self.inspector.next_id(now).0);
        tracing::info!(
            code = "mqtt::connected", topology = %self.topology, stage = %self.stage,
            broker = %self.connection.address(), session = ?beginning, "connected to the broker"
        );
        match beginning {
            Beginning::Resumed => self.settle(true),
            Beginning::First => self.settle(false),
            Beginning::Lost => {
                self.meters.sessions_lost.increment(1);
                tracing::warn!(
                    code = "mqtt::session_lost", topology = %self.topology, stage = %self.stage,
                    broker = %self.connection.address(),
                    "the broker no longer has this slot's session; messages that were queued in it are lost. \
                     Let the broker keep sessions (Mosquitto: `persistence true`)"
                );
                self.new_session();
            }
            Beginning::Doubtful => {}
        }
        Serving::new(self, link, beginning).run().await
    }

    /// The session is another one than the known: nothing of it can be recognised.
    pub(super) fn new_session(&mut self) {
        self.table.begin();
        self.intake.new_life();
        self.settle(false);
    }

    /// Takes back what was not handed out, for as long as there is no connection.
    fn hold(&mut self) {
        let mut items = self.intake.take_back();
        // The time that a mark covered has records before it that may now come after it: it counts as a break.
        items.retain(|item| !matches!(item, Item::Mark(_)));
        if let Some(origin) = items.front_mut().and_then(Item::origin_mut) {
            self.table.take_back(origin.delivery);
        }
        self.held.append(&mut items);
    }

    /// It is known what becomes of what is held: the broker sends it again, if it has a packet id and the session was
    /// resumed. The rest is handed out now.
    pub(super) fn settle(&mut self, resumed: bool) {
        let mut items = Vec::with_capacity(self.held.len());
        for mut item in self.held.drain(..) {
            let Some(origin) = item.origin_mut() else { continue };
            if resumed && origin.packet_id != 0 {
                continue;
            }
            origin.packet_id = 0;
            origin.slot_session = self.session.id();
            origin.delivery = self.table.produce(0, origin.payload_hash);
            items.push(item);
        }
        self.intake.put(&mut items);
    }

    fn report(&self, down: &Down, pause: Duration, failures: u32) {
        self.broker.lost(down);
        let broker = self.connection.address();
        let (topology, stage) = (&*self.topology, &*self.stage);
        if failures > 1 {
            tracing::debug!(code = "mqtt::disconnected", topology, stage, broker, error = %down, ?pause, failures, "still no connection");
        } else {
            tracing::warn!(
                code = "mqtt::disconnected", topology, stage, broker, error = %down, ?pause,
                "the connection to the broker is gone; trying until it is back"
            );
        }
    }
}
