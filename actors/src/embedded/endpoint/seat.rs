//! A client's place in the hub, for as long as its connection lasts.
//!
//! It is given up in any case, also where the connection's task ends in a panic: then as if the client were lost.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::warn;
use ulid::Ulid;

use super::access::Access;
use super::hub::{ClientId, Generation};
use super::intake::Level;
use super::machine::Machine;
use super::outbox::Sending;
use super::peer::Peer;
use super::shared::Shared;
use super::store::Change;
use super::wire::{Code, Connect, Terms, Version, Will};

/// A client's place.
pub(crate) struct Seat {
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    client: ClientId,
    generation: Generation,
    access: Access,
    keep_alive: u16,
    /// How many commands the client takes unacknowledged.
    window: u16,
    will: Option<Will>,
    session_expiry: Option<u32>,
    left: bool,
}

/// What the client is told as it is let in.
pub(crate) struct Answer {
    session_present: bool,
    assigned: Option<ClientId>,
    session_expiry: Option<u32>,
}

impl Answer {
    pub(crate) fn as_terms(&self, shared: &Shared) -> Terms<'_> {
        Terms {
            session_present: self.session_present,
            client_id: self.assigned.as_deref(),
            session_expiry: self.session_expiry,
            receive_maximum: shared.bounds.receive_maximum,
            packet_limit: shared.bounds.packet,
        }
    }
}

impl Seat {
    /// Lets a client in: it is who it says, it takes the place of its earlier connection, and its session is durable.
    ///
    /// # Errors
    /// With the answer for one that is not let in.
    pub(crate) async fn take(
        mut connect: Connect,
        certified: &[String],
        peer: &Arc<Peer>,
        shared: &Arc<Shared>,
    ) -> Result<(Seat, Answer), Code> {
        if connect.will.is_some() && shared.intake.level() == Level::Full {
            // While nobody is read connections come and go, and each would leave one more will.
            return Err(Code::SERVER_BUSY);
        }
        let access = shared.gate.identify(&mut connect, certified).await?;
        if let Some(will) = &connect.will
            && !access.may_publish(&shared.routes, &will.topic)
        {
            return Err(Code::NOT_AUTHORIZED);
        }
        let assigned = connect.client_id.is_empty().then(|| ClientId::from(format!("auto-{}", Ulid::generate())));
        let client = assigned.clone().unwrap_or_else(|| connect.client_id.as_str().into());
        let attached = shared.hub.attach(&client, peer, connect.clean, connect.session_expiry)?;
        let mut seat = Seat {
            shared: shared.clone(),
            peer: peer.clone(),
            client,
            generation: attached.generation,
            access,
            keep_alive: connect.keep_alive,
            window: connect.receive_maximum,
            will: None,
            session_expiry: None,
            left: false,
        };
        if let Some(predecessor) = attached.predecessor {
            predecessor.leave(Code::TAKEN_OVER);
            // What it has read is in the intake before anything that this connection reads.
            predecessor.ended().await;
        }
        if let Err(error) = shared.store.commit(attached.changes).await {
            warn!(
                code = "mqtt_endpoint::session_not_kept", topology = %shared.topology, stage = %shared.stage, %error,
                "a client was not let in because its session cannot be written"
            );
            return Err(Code::SERVER_UNAVAILABLE);
        }
        shared.meters.connects.increment(1);
        let told = connect.version == Version::V5 && attached.expiry != connect.session_expiry;
        let answer = Answer {
            session_present: attached.session_present,
            assigned,
            session_expiry: told.then_some(attached.expiry),
        };
        seat.will = connect.will;
        Ok((seat, answer))
    }

    pub(crate) fn client(&self) -> &str {
        &self.client
    }

    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    pub(crate) fn keep_alive(&self) -> u16 {
        self.keep_alive
    }

    /// What the client says at last of its session's time, in seconds.
    pub(crate) fn last_word(&mut self, session_expiry: Option<u32>) {
        self.session_expiry = session_expiry;
    }

    /// The connection stands: what an earlier one did not acknowledge is sent again, before what waits.
    pub(crate) fn begin(&mut self) {
        self.shared.hub.reconnected(&self.client, self.generation);
    }

    /// Sends the commands that wait, as many as the client takes.
    pub(crate) fn send_commands(&mut self, machine: &mut Machine) {
        while let Some(sending) = self.shared.hub.next_command(&self.client, self.generation, self.window) {
            self.send(sending, machine);
        }
    }

    fn send(&mut self, sending: Sending, machine: &mut Machine) {
        let Sending { packet_id, dup, topic, payload } = sending;
        if !machine.publish(&topic, &payload, packet_id, dup) && !machine.is_closed() {
            // It takes no packet of that size, and the standard has it dropped.
            self.shared.meters.rejected("command_too_large").increment(1);
            if let Some(packet_id) = packet_id {
                self.settle(packet_id, false);
            }
        }
    }

    /// The client has a command, or (`taken` false) never will.
    pub(crate) fn settle(&mut self, packet_id: u16, taken: bool) {
        if let Some(change) = self.shared.hub.settle(&self.client, self.generation, packet_id, taken) {
            self.shared.commit_behind(vec![change]);
        }
        // There is room in the client's window for one more.
        self.peer.has_commands();
    }

    /// Subscribes, durably where the session is; one code a filter.
    pub(crate) async fn subscribe(&mut self, filters: &[(String, u8)]) -> Vec<Code> {
        let (codes, changes) = self.shared.hub.subscribe(&self.client, self.generation, &self.access, filters);
        self.durable(codes, changes).await
    }

    /// Unsubscribes, durably where the session is; one code a filter.
    pub(crate) async fn unsubscribe(&mut self, filters: &[String]) -> Vec<Code> {
        let (codes, changes) = self.shared.hub.unsubscribe(&self.client, self.generation, filters);
        self.durable(codes, changes).await
    }

    async fn durable(&self, mut codes: Vec<Code>, changes: Vec<Change>) -> Vec<Code> {
        if let Err(error) = self.shared.store.commit(changes).await {
            warn!(
                code = "mqtt_endpoint::session_not_kept", topology = %self.shared.topology,
                stage = %self.shared.stage, %error, "a subscription was refused because it cannot be written"
            );
            codes.fill(Code::UNSPECIFIED);
        }
        codes
    }

    /// Gives the place up. `with_will`: the client is gone without a farewell.
    pub(crate) fn leave(mut self, with_will: bool) {
        let will = self.will.take().filter(|_| with_will);
        self.give_up(will);
    }

    fn give_up(&mut self, will: Option<Will>) {
        if std::mem::replace(&mut self.left, true) {
            return;
        }
        let Shared { hub, intake, .. } = &*self.shared;
        let (now, held) = match will {
            Some(will) if will.delay > 0 => (None, Some(will)),
            will => (will, None),
        };
        if let Some(will) = now {
            intake.put(&mut vec![self.shared.draft_of_will(will)], &self.peer, self.shared.now());
        }
        let changes = hub.detach(&self.client, self.generation, self.session_expiry, held, Instant::now());
        self.shared.commit_behind(changes);
        self.peer.end();
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let will = self.will.take();
        self.give_up(will);
    }
}
