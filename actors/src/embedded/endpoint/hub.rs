//! All sessions: who is connected, what each subscribed to, and the commands that wait.
//!
//! A session that outlives its connection is on disk before its client hears of it, and so is a command that waits in
//! one. Everything else is in memory and ends with its connection. The lock is held for moments; the disk is written
//! behind it ([`Change`]s are handed out, whoever asked commits them).

mod commands;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::access::Access;
use super::outbox::{Outbox, Queued};
use super::peer::Peer;
use super::settings::Limits;
use super::store::{Change, Kept, SessionRecord};
use super::wire::{Code, Will};
use crate::mqtt::TopicTemplate;

pub(crate) use commands::{Handed, Promised};

/// The name of a client.
pub(crate) type ClientId = Arc<str>;

/// Which connection of a client something is said by: what an earlier one says has no effect any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation(u64);

/// A client that was let in.
pub(crate) struct Attached {
    pub(crate) generation: Generation,
    pub(crate) session_present: bool,
    /// How long the session will outlive the connection, in seconds.
    pub(crate) expiry: u32,
    /// The connection that it takes the place of: nothing of the new one may be taken in before that has ended.
    pub(crate) predecessor: Option<Arc<Peer>>,
    /// To be committed before the client hears that it is in.
    pub(crate) changes: Vec<Change>,
}

struct Session {
    /// The connection, while there is one.
    peer: Option<Arc<Peer>>,
    generation: Generation,
    /// In seconds; 0 for a session that ends with its connection.
    expiry: u32,
    expires_at: Option<Instant>,
    subscriptions: Vec<(Arc<str>, u8)>,
    outbox: Outbox,
    /// How many commands for it are on their way to the disk.
    promised: usize,
}

/// A will that is held back.
struct HeldWill {
    client: ClientId,
    due: Instant,
    will: Will,
}

#[derive(Default)]
struct Inner {
    sessions: HashMap<ClientId, Session>,
    /// Who has subscribed to a topic.
    subscribers: HashMap<Arc<str>, Vec<ClientId>>,
    connected: usize,
    /// How many sessions outlive their connection.
    kept: usize,
    last_generation: u64,
    wills: Vec<HeldWill>,
    /// Sessions without a connection are looked through when this has come.
    next_expiry: Option<Instant>,
}

/// The sessions of one endpoint.
pub(crate) struct Hub {
    inner: Mutex<Inner>,
    limits: Limits,
    commands: TopicTemplate,
}

impl Hub {
    /// Without any session.
    pub(crate) fn new(limits: Limits, commands: TopicTemplate) -> Self {
        Hub { inner: Mutex::default(), limits, commands }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes in what was kept by an earlier process. How long a session has been without its client is not known, so it
    /// begins to expire now.
    pub(crate) fn restore(&self, kept: Vec<Kept>, now: Instant) {
        self.with(|inner| {
            for Kept { client, session: SessionRecord { expiry, subscriptions, .. }, commands } in kept {
                let client: ClientId = client.into();
                let mut outbox = Outbox::default();
                for command in commands {
                    outbox.push(Queued {
                        sequence: command.sequence,
                        id: command.id,
                        topic: command.topic.into(),
                        payload: command.payload,
                        qos: 1,
                        perhaps_sent: true,
                        taken: None,
                    });
                }
                let subscriptions: Vec<(Arc<str>, u8)> =
                    subscriptions.into_iter().map(|(filter, qos)| (filter.into(), qos)).collect();
                for (filter, _) in &subscriptions {
                    inner.subscribers.entry(filter.clone()).or_default().push(client.clone());
                }
                let session = Session {
                    peer: None,
                    generation: Generation(0),
                    expiry,
                    expires_at: Some(inner.expire_after(expiry, now)),
                    subscriptions,
                    outbox,
                    promised: 0,
                };
                inner.kept += 1;
                inner.sessions.insert(client, session);
            }
        });
    }

    /// How many clients are connected, and how many sessions there are.
    pub(crate) fn counts(&self) -> (usize, usize) {
        self.with(|inner| (inner.connected, inner.sessions.len()))
    }

    /// Lets a client in.
    ///
    /// # Errors
    /// With the answer for a client that there is no room for.
    pub(crate) fn attach(
        &self,
        client: &ClientId,
        peer: &Arc<Peer>,
        clean: bool,
        wanted_expiry: u32,
    ) -> Result<Attached, Code> {
        let expiry = wanted_expiry.min(self.limits.session_expiry);
        self.with(|inner| {
            let known = inner.sessions.get(client);
            let takes_over = known.is_some_and(|session| session.peer.is_some());
            if !takes_over && inner.connected >= self.limits.connections {
                return Err(Code::SERVER_BUSY);
            }
            let is_kept = known.is_some_and(|session| session.expiry > 0);
            if expiry > 0 && !is_kept && inner.kept >= self.limits.sessions {
                return Err(Code::QUOTA_EXCEEDED);
            }
            // The client is back, or is taken for another one: in both cases what was held back is not said.
            inner.wills.retain(|held| held.client != *client);
            let predecessor = inner.sessions.get_mut(client).and_then(|session| session.peer.take());
            if predecessor.is_some() {
                inner.connected -= 1;
            }
            let mut changes = Vec::new();
            // One that ends with its connection has ended with the one that this takes the place of.
            let session_present = !clean && is_kept;
            if !session_present {
                inner.remove(client, &mut changes);
            }
            inner.last_generation += 1;
            inner.connected += 1;
            let generation = Generation(inner.last_generation);
            let session = inner.sessions.entry(client.clone()).or_insert_with(|| Session {
                peer: None,
                generation,
                expiry: 0,
                expires_at: None,
                subscriptions: Vec::new(),
                outbox: Outbox::default(),
                promised: 0,
            });
            match (session.expiry > 0, expiry > 0) {
                (false, true) => inner.kept += 1,
                (true, false) => {
                    inner.kept -= 1;
                    changes.extend(session.removal(client));
                }
                _ => {}
            }
            session.peer = Some(peer.clone());
            session.generation = generation;
            session.expires_at = None;
            session.expiry = expiry;
            changes.extend(session.kept_as(client));
            Ok(Attached { generation, session_present, expiry, predecessor, changes })
        })
    }

    /// A connection has ended. `expiry`: what the client said at last of its session. `will`: to be held back, if the
    /// client does not come back.
    pub(crate) fn detach(
        &self,
        client: &ClientId,
        generation: Generation,
        expiry: Option<u32>,
        will: Option<Will>,
        now: Instant,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        self.with(|inner| {
            let Some(session) = inner.sessions.get_mut(client).filter(|session| session.generation == generation)
            else {
                return;
            };
            session.peer = None;
            inner.connected -= 1;
            // A session that was to end with its connection cannot be prolonged by its last word.
            let changed = expiry.filter(|_| session.expiry > 0).map(|expiry| expiry.min(self.limits.session_expiry));
            let expiry = changed.unwrap_or(session.expiry);
            if expiry == 0 {
                inner.remove(client, &mut changes);
            } else {
                session.expiry = expiry;
                changes.extend(changed.and_then(|_| session.kept_as(client)));
                let at = now + Duration::from_secs(expiry.into());
                session.expires_at = Some(at);
                inner.next_expiry = Some(inner.next_expiry.map_or(at, |next| next.min(at)));
            }
            if let Some(will) = will {
                // It is said when its delay is over, or when the session ends, whichever comes first.
                let due = now + Duration::from_secs(will.delay.min(expiry).into());
                inner.wills.push(HeldWill { client: client.clone(), due, will });
            }
        });
        changes
    }

    /// Subscribes; one code a filter, and what is to be committed before the client hears of it.
    pub(crate) fn subscribe(
        &self,
        client: &ClientId,
        generation: Generation,
        access: &Access,
        filters: &[(String, u8)],
    ) -> (Vec<Code>, Vec<Change>) {
        self.with(|inner| {
            let Some(session) = inner.sessions.get_mut(client).filter(|session| session.generation == generation)
            else {
                return (vec![Code::UNSPECIFIED; filters.len()], Vec::new());
            };
            let mut codes = Vec::with_capacity(filters.len());
            for (filter, qos) in filters {
                let mut code = access.subscribe(&self.commands, filter, *qos);
                if !code.is_error() {
                    let is_full = session.subscriptions.len() >= self.limits.subscriptions;
                    match session.subscriptions.iter_mut().find(|(known, _)| **known == **filter) {
                        Some((_, known)) => *known = code.0,
                        None if is_full => code = Code::QUOTA_EXCEEDED,
                        None => {
                            let filter: Arc<str> = filter.as_str().into();
                            session.subscriptions.push((filter.clone(), code.0));
                            inner.subscribers.entry(filter).or_default().push(client.clone());
                        }
                    }
                }
                codes.push(code);
            }
            let changes = session.kept_as(client).into_iter().collect();
            (codes, changes)
        })
    }

    /// Unsubscribes; one code a filter, and what is to be committed before the client hears of it.
    pub(crate) fn unsubscribe(
        &self,
        client: &ClientId,
        generation: Generation,
        filters: &[String],
    ) -> (Vec<Code>, Vec<Change>) {
        self.with(|inner| {
            let Some(session) = inner.sessions.get_mut(client).filter(|session| session.generation == generation)
            else {
                return (vec![Code::UNSPECIFIED; filters.len()], Vec::new());
            };
            let mut codes = Vec::with_capacity(filters.len());
            for filter in filters {
                let index = session.subscriptions.iter().position(|(known, _)| **known == **filter);
                match index {
                    Some(index) => {
                        let (filter, _) = session.subscriptions.swap_remove(index);
                        forget_subscriber(&mut inner.subscribers, &filter, client);
                        codes.push(Code::SUCCESS);
                    }
                    None => codes.push(Code::NO_SUBSCRIPTION),
                }
            }
            let changes = session.kept_as(client).into_iter().collect();
            (codes, changes)
        })
    }

    /// Time has passed: ends sessions whose time is over, and hands out the wills that are due.
    pub(crate) fn tick(&self, now: Instant) -> (Vec<Change>, Vec<(ClientId, Will)>) {
        self.with(|inner| {
            let mut changes = Vec::new();
            if inner.next_expiry.is_some_and(|next| next <= now) {
                let over = |session: &Session| session.expires_at.is_some_and(|at| at <= now);
                let clients: Vec<ClientId> = inner
                    .sessions
                    .iter()
                    .filter(|(_, session)| over(session))
                    .map(|(client, _)| client.clone())
                    .collect();
                for client in clients {
                    inner.remove(&client, &mut changes);
                }
                inner.next_expiry = inner.sessions.values().filter_map(|session| session.expires_at).min();
            }
            let (due, later) = std::mem::take(&mut inner.wills).into_iter().partition(|held| held.due <= now);
            inner.wills = later;
            let due: Vec<HeldWill> = due;
            (changes, due.into_iter().map(|held| (held.client, held.will)).collect())
        })
    }

    /// Tells all connections to leave.
    pub(crate) fn dismiss(&self, code: Code) {
        let peers: Vec<_> = self.with(|inner| inner.sessions.values().filter_map(|s| s.peer.clone()).collect());
        for peer in &peers {
            peer.leave(code);
        }
    }
}

impl Session {
    fn record(&self) -> SessionRecord {
        let subscriptions = self.subscriptions.iter().map(|(filter, qos)| (filter.to_string(), *qos)).collect();
        SessionRecord::new(self.expiry, subscriptions)
    }

    /// What takes it off the disk.
    fn removal<'s>(&'s self, client: &'s str) -> impl Iterator<Item = Change> + 's {
        let commands = self.outbox.sequences().map(move |sequence| Change::no_command(client, sequence));
        std::iter::once(Change::no_session(client)).chain(commands)
    }

    /// What puts it there, where it is one that outlives its connection.
    fn kept_as(&self, client: &str) -> Option<Change> {
        (self.expiry > 0).then(|| Change::session(client, &self.record()))
    }
}

impl Inner {
    fn expire_after(&mut self, seconds: u32, now: Instant) -> Instant {
        let at = now + Duration::from_secs(seconds.into());
        self.next_expiry = Some(self.next_expiry.map_or(at, |next| next.min(at)));
        at
    }

    fn remove(&mut self, client: &ClientId, changes: &mut Vec<Change>) {
        let Some(session) = self.sessions.remove(client) else { return };
        for (filter, _) in &session.subscriptions {
            forget_subscriber(&mut self.subscribers, filter, client);
        }
        if session.expiry > 0 {
            self.kept -= 1;
            changes.extend(session.removal(client));
        }
    }
}

fn forget_subscriber(subscribers: &mut HashMap<Arc<str>, Vec<ClientId>>, filter: &Arc<str>, client: &ClientId) {
    if let Some(clients) = subscribers.get_mut(filter) {
        clients.retain(|other| other != client);
        if clients.is_empty() {
            subscribers.remove(filter);
        }
    }
}

#[cfg(test)]
mod tests;
