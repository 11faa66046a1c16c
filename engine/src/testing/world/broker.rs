//! The broker in front of the ingress: messages stay until they are acknowledged.
//!
//! It has one session, which the newest connection has: it gets everything that is not acknowledged, in order, and the
//! acknowledgements of those before it are no longer heard.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Whom a message is poison for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poison {
    /// Nobody.
    None,
    /// The processor behind the ingress refuses it.
    Processor,
    /// The guarded table refuses it and says which it is.
    Table,
    /// The guarded table panics on it and cannot say which it was.
    TablePanic,
    /// The keyed stage panics on it.
    Keyed,
}

impl Poison {
    /// As it stands in the payload.
    pub fn word(self) -> &'static str {
        match self {
            Poison::None => "none",
            Poison::Processor => "processor",
            Poison::Table => "table",
            Poison::TablePanic => "table_panic",
            Poison::Keyed => "keyed",
        }
    }

    /// What a payload says.
    pub fn of(payload: &[u8]) -> Poison {
        let all = [Poison::Processor, Poison::Table, Poison::TablePanic, Poison::Keyed];
        let says = |p: &Poison| {
            let word = format!(r#""{}""#, p.word());
            payload.windows(word.len()).any(|w| w == word.as_bytes())
        };
        all.into_iter().find(says).unwrap_or(Poison::None)
    }
}

/// A message of a device.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its number, rising over all devices; never used again.
    pub number: u64,
    /// The device.
    pub device: String,
    /// Whom it is poison for.
    pub poison: Poison,
}

/// The broker of a simulated world.
#[derive(Default)]
pub struct Broker {
    inner: Mutex<Inner>,
    /// Told when a message was published, or when there is another connection.
    pub changed: Notify,
}

#[derive(Default)]
struct Inner {
    all: Vec<Message>,
    waiting: BTreeMap<u64, Message>,
    quiet: bool,
    connection: u64,
}

impl Broker {
    /// From now on no marks are made, so that a run can come to its end.
    pub fn be_quiet(&self) {
        self.lock().quiet = true;
    }

    /// Whether the ingress is to make no marks.
    pub fn is_quiet(&self) -> bool {
        self.lock().quiet
    }

    /// A device publishes.
    pub fn publish(&self, message: Message) {
        let mut inner = self.lock();
        inner.all.push(message.clone());
        inner.waiting.insert(message.number, message);
        drop(inner);
        self.changed.notify_waiters();
    }

    /// A connection takes the session over; its number.
    pub fn connect(&self) -> u64 {
        let mut inner = self.lock();
        inner.connection += 1;
        let connection = inner.connection;
        drop(inner);
        self.changed.notify_waiters();
        connection
    }

    /// Whether a connection has the session.
    pub fn is_connected(&self, connection: u64) -> bool {
        self.lock().connection == connection
    }

    /// The next message behind a number that is not acknowledged.
    pub fn next(&self, behind: Option<u64>) -> Option<Message> {
        let from = behind.map_or(0, |n| n + 1);
        self.lock().waiting.range(from..).next().map(|(_, message)| message.clone())
    }

    /// The ingress has it, says a connection. False: that one does not have the session.
    pub fn acknowledge(&self, connection: u64, number: u64) -> bool {
        let mut inner = self.lock();
        let is_heard = inner.connection == connection;
        if is_heard {
            inner.waiting.remove(&number);
        }
        is_heard
    }

    /// Everything that was ever published.
    pub fn all(&self) -> Vec<Message> {
        self.lock().all.clone()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.lock().waiting.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
