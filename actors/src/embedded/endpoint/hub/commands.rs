//! The way of a command into a session and out of it.

use bytes::Bytes;
use telemill_engine::record::EventId;
use tokio::sync::oneshot;

use super::{ClientId, Generation, Hub, Inner};
use crate::embedded::endpoint::outbox::{Queued, Sending};
use crate::embedded::endpoint::store::Change;

/// What became of a command that was handed in.
#[derive(Debug)]
pub(crate) enum Handed {
    /// It is for a session that outlives its connection: the client gets it once the change is durable.
    Keep(Promised, Change),
    /// It is on its way to a client whose session ends with its connection; told when the client has it.
    Sent(oneshot::Receiver<()>),
    /// It was in a session that outlives its connection already.
    Known,
    /// No session has a subscription for it.
    Nobody,
    /// Too many commands wait in the session.
    Full,
}

/// A command that is on its way to the disk.
#[derive(Debug)]
pub(crate) struct Promised {
    client: ClientId,
    queued: Queued,
}

/// How many commands are on their way to a client that takes more.
const WINDOW: u16 = 32;

impl Hub {
    /// Finds out who is to get a command: one answer a session, or [`Handed::Nobody`]. What comes out as
    /// [`Handed::Keep`] is handed over by [`Hub::hand_over`] once its change is durable.
    pub(crate) fn hand_in(&self, topic: &str, id: EventId, payload: &Bytes) -> Vec<Handed> {
        let handed: Vec<Handed> = self.with(|inner| {
            let clients = inner.subscribers.get(topic).cloned().unwrap_or_default();
            clients.iter().filter_map(|client| self.put(inner, client, topic, id, payload)).collect()
        });
        if handed.is_empty() { vec![Handed::Nobody] } else { handed }
    }

    fn put(&self, inner: &mut Inner, client: &ClientId, topic: &str, id: EventId, payload: &Bytes) -> Option<Handed> {
        let session = inner.sessions.get_mut(client)?;
        let (filter, qos) = session.subscriptions.iter().find(|(filter, _)| **filter == *topic)?;
        let (topic, qos) = (filter.clone(), *qos);
        if qos == 0 && session.peer.is_none() {
            return None;
        }
        if let Some(queued) = session.outbox.find(id) {
            return Some(match &mut queued.taken {
                None => Handed::Known,
                // Nothing keeps it but the connection: who asks again waits for the client as who asked first did.
                Some(taken) => {
                    let (again, receiver) = oneshot::channel();
                    *taken = again;
                    Handed::Sent(receiver)
                }
            });
        }
        if session.outbox.len() + session.promised >= self.limits.commands {
            return Some(Handed::Full);
        }
        let sequence = session.outbox.reserve();
        let queued = Queued { sequence, id, topic, payload: payload.clone(), qos, perhaps_sent: false, taken: None };
        if session.expiry > 0 && qos > 0 {
            let change = Change::command(client, sequence, id, &queued.topic, payload);
            session.promised += 1;
            return Some(Handed::Keep(Promised { client: client.clone(), queued }, change));
        }
        let (taken, receiver) = oneshot::channel();
        session.outbox.push(Queued { taken: Some(taken), ..queued });
        if let Some(peer) = &session.peer {
            peer.has_commands();
        }
        Some(Handed::Sent(receiver))
    }

    /// A command is durable, or could not be made so: hands it over to its session, or forgets it. What is to be taken
    /// off the disk again, where the session is gone.
    pub(crate) fn hand_over(&self, promised: Promised, durable: bool) -> Option<Change> {
        let Promised { client, queued } = promised;
        self.with(|inner| {
            let Some(session) = inner.sessions.get_mut(&client).filter(|session| session.expiry > 0) else {
                return durable.then(|| Change::no_command(&client, queued.sequence));
            };
            session.promised = session.promised.saturating_sub(1);
            if durable {
                session.outbox.push(queued);
                if let Some(peer) = &session.peer {
                    peer.has_commands();
                }
            }
            None
        })
    }

    /// A client's connection stands: what an earlier one did not acknowledge is the next to be sent.
    pub(crate) fn reconnected(&self, client: &ClientId, generation: Generation) {
        self.with(|inner| {
            if let Some(session) = inner.sessions.get_mut(client).filter(|session| session.generation == generation) {
                session.outbox.reconnected();
            }
        });
    }

    /// The next command to send; `window`: how many the client takes unacknowledged.
    pub(crate) fn next_command(&self, client: &ClientId, generation: Generation, window: u16) -> Option<Sending> {
        self.with(|inner| {
            let session = inner.sessions.get_mut(client).filter(|session| session.generation == generation)?;
            session.outbox.next(window.min(WINDOW))
        })
    }

    /// The client has what was sent under a packet id, or will never take it (`taken` false).
    pub(crate) fn settle(
        &self,
        client: &ClientId,
        generation: Generation,
        packet_id: u16,
        taken: bool,
    ) -> Option<Change> {
        self.with(|inner| {
            let session = inner.sessions.get_mut(client).filter(|session| session.generation == generation)?;
            let queued = session.outbox.settle(packet_id)?;
            if let Some(waiting) = queued.taken.filter(|_| taken) {
                // Whoever asked may have gone.
                let _ = waiting.send(());
            }
            (session.expiry > 0).then(|| Change::no_command(client, queued.sequence))
        })
    }
}
