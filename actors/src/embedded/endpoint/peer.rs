//! How the rest of the endpoint reaches the task of one connection.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use tokio::sync::{Notify, watch};

use super::wire::Code;

/// One connection. Shared by its task, the intake and the hub.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Messages of it that became durable since its task last looked.
    safe: AtomicU64,
    /// There are commands for it.
    commands: AtomicBool,
    /// It is to leave, with this code; 0 while it may stay.
    leave: AtomicU8,
    wake: Notify,
    ended: watch::Sender<bool>,
}

/// What its task is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Orders {
    pub(crate) safe: u64,
    pub(crate) commands: bool,
    pub(crate) leave: Option<Code>,
}

impl Peer {
    /// A connection that has just begun.
    pub(crate) fn new() -> Self {
        Peer {
            safe: AtomicU64::new(0),
            commands: AtomicBool::new(false),
            leave: AtomicU8::new(0),
            wake: Notify::new(),
            ended: watch::Sender::new(false),
        }
    }

    /// So many more of its messages are durable.
    pub(crate) fn add_safe(&self, count: u64) {
        self.safe.fetch_add(count, Ordering::AcqRel);
        self.wake.notify_one();
    }

    /// There are commands for it.
    pub(crate) fn has_commands(&self) {
        self.commands.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// It is to leave. The first word counts.
    pub(crate) fn leave(&self, code: Code) {
        let _ = self.leave.compare_exchange(0, code.0, Ordering::AcqRel, Ordering::Acquire);
        self.wake.notify_one();
    }

    /// What there is to do, once.
    pub(crate) fn orders(&self) -> Orders {
        let leave = self.leave.load(Ordering::Acquire);
        Orders {
            safe: self.safe.swap(0, Ordering::AcqRel),
            commands: self.commands.swap(false, Ordering::AcqRel),
            leave: (leave != 0).then_some(Code(leave)),
        }
    }

    /// Returns when [`Peer::orders`] may have something new. Safe to cancel.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Its task has ended: nothing comes from it any more.
    pub(crate) fn end(&self) {
        self.ended.send_replace(true);
    }

    /// Returns when its task has ended.
    pub(crate) async fn ended(&self) {
        // The sender lives as long as this.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn orders_are_found_once_and_the_first_farewell_counts() {
        let peer = Peer::new();
        peer.add_safe(2);
        peer.add_safe(1);
        peer.has_commands();
        peer.leave(Code::TAKEN_OVER);
        peer.leave(Code::SHUTTING_DOWN);
        peer.woken().await;
        assert_eq!(peer.orders(), Orders { safe: 3, commands: true, leave: Some(Code::TAKEN_OVER) });
        assert_eq!(peer.orders(), Orders { safe: 0, commands: false, leave: Some(Code::TAKEN_OVER) });
    }

    #[tokio::test]
    async fn its_end_is_heard_before_and_behind_it() {
        let peer = Peer::new();
        assert!(futures_util::poll!(std::pin::pin!(peer.ended())).is_pending());
        peer.end();
        peer.ended().await;
    }
}
