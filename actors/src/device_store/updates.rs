//! The updates that a subscriber has not read yet: bounded, whatever it does.
//!
//! What does not fit is counted instead of kept, and so is all that follows until the subscriber has read what was kept:
//! so it hears a run without holes, then how many it missed, then the next run.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use telemill_engine::ports::{PortError, Update};
use tokio::sync::Notify;

/// The most messages that wait for a subscriber.
const MAX_MESSAGES: usize = 1024;
/// The most bytes that wait for a subscriber, unless it is a single message.
const MAX_BYTES: usize = 1 << 20;

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// For the subscriber.
    changed: Notify,
    /// For the store.
    closed: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Bytes>,
    bytes: usize,
    missed: u64,
    end: Option<String>,
    is_closed: bool,
}

/// The side of the store.
#[derive(Debug)]
pub(crate) struct Sender(Arc<Shared>);

/// The side of the subscriber.
#[derive(Debug)]
pub(crate) struct Receiver(Arc<Shared>);

/// A queue with its two sides.
pub(crate) fn channel() -> (Sender, Receiver) {
    let shared = Arc::<Shared>::default();
    (Sender(shared.clone()), Receiver(shared))
}

impl Shared {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Sender {
    /// One more message.
    pub(crate) fn send(&self, message: Bytes) {
        self.0.with(|state| {
            let fits = state.waiting.is_empty()
                || state.waiting.len() < MAX_MESSAGES && state.bytes + message.len() <= MAX_BYTES;
            if state.missed > 0 || !fits {
                state.missed += 1;
            } else {
                state.bytes += message.len();
                state.waiting.push_back(message);
            }
        });
        self.0.changed.notify_one();
    }

    /// Whether the subscriber is there.
    pub(crate) fn is_open(&self) -> bool {
        self.0.with(|state| !state.is_closed)
    }

    /// There will be no more: the subscriber hears why, behind what it has not read yet.
    #[cfg(any(test, feature = "redis"))]
    pub(crate) fn end(&self, why: String) {
        self.0.with(|state| state.end = Some(why));
        self.0.changed.notify_one();
    }

    /// Waits until the subscriber is gone.
    #[cfg(any(test, feature = "redis"))]
    pub(crate) async fn closed(&self) {
        while self.is_open() {
            self.0.closed.notified().await;
        }
    }
}

impl Receiver {
    /// What comes next; none behind the end.
    pub(crate) async fn next(&mut self) -> Option<Result<Update, PortError>> {
        loop {
            let next = self.0.with(|state| {
                if let Some(message) = state.waiting.pop_front() {
                    state.bytes -= message.len();
                    return Some(Some(Ok(Update::Written(message))));
                }
                if state.missed > 0 {
                    return Some(Some(Ok(Update::Missed(std::mem::take(&mut state.missed)))));
                }
                if state.is_closed {
                    return Some(None);
                }
                let why = state.end.take()?;
                state.is_closed = true;
                Some(Some(Err(PortError(why))))
            });
            match next {
                Some(next) => return next,
                None => self.0.changed.notified().await,
            }
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.0.with(|state| {
            state.is_closed = true;
            state.waiting = VecDeque::new();
        });
        self.0.closed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(n: usize) -> Bytes {
        n.to_string().into()
    }

    #[tokio::test]
    async fn what_does_not_fit_is_counted_until_the_rest_was_read() {
        let (sender, mut receiver) = channel();
        for n in 0..MAX_MESSAGES + 7 {
            sender.send(numbered(n));
        }
        for n in 0..MAX_MESSAGES {
            assert_eq!(receiver.next().await.unwrap().unwrap(), Update::Written(numbered(n)));
            if n == 5 {
                sender.send(numbered(0));
            }
        }
        assert_eq!(receiver.next().await.unwrap().unwrap(), Update::Missed(8), "no run has a hole");
        sender.send(numbered(9));
        sender.end("the store is gone".to_owned());
        assert_eq!(receiver.next().await.unwrap().unwrap(), Update::Written(numbered(9)));
        assert_eq!(receiver.next().await.unwrap().unwrap_err().to_string(), "the store is gone");
        assert!(receiver.next().await.is_none());
    }

    #[tokio::test]
    async fn bytes_are_bounded_and_one_message_always_fits() {
        let (sender, mut receiver) = channel();
        let large = Bytes::from(vec![b'x'; MAX_BYTES + 1]);
        sender.send(large.clone());
        sender.send(numbered(1));
        assert_eq!(receiver.next().await.unwrap().unwrap(), Update::Written(large));
        assert_eq!(receiver.next().await.unwrap().unwrap(), Update::Missed(1));
        drop(receiver);
        sender.closed().await;
        assert!(!sender.is_open());
    }
}
