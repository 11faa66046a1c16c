//! The other sides of a stage: the brokers and stores that it talks to.
//!
//! A component that finds out that one of them is gone says so here, and says when it is back. It goes on by itself all
//! the while; what this is for is that whoever operates the topology sees what it waits for. Each other side has a name
//! of its own, so that one that comes back does not hide another that is still gone.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is known of the other sides of one stage. Cheap to clone; clones are the same.
#[derive(Clone, Default)]
pub struct Peers(Arc<Mutex<BTreeMap<String, String>>>);

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Peers").field(&*self.gone()).finish()
    }
}

/// One other side. Cheap to clone; clones are the same.
#[derive(Clone, Debug)]
pub struct Peer {
    peers: Peers,
    name: Arc<str>,
}

impl Peer {
    /// It is gone, and why. A later reason replaces an earlier one.
    pub fn lost(&self, why: impl fmt::Display) {
        self.peers.gone().insert(self.name.to_string(), why.to_string());
    }

    /// It is there.
    pub fn back(&self) {
        self.peers.gone().remove(&*self.name);
    }
}

impl Peers {
    /// The other side of this name, such as `mqtt broker:1883`. It counts as being there until it is said to be lost.
    pub fn peer(&self, name: impl Into<Arc<str>>) -> Peer {
        Peer { peers: self.clone(), name: name.into() }
    }

    /// Nothing is known of any: the component that knew has ended.
    pub fn forget(&self) {
        self.gone().clear();
    }

    /// What is gone and why, if anything is.
    pub fn waits_for(&self) -> Option<String> {
        let gone = self.gone();
        let each: Vec<_> = gone.iter().map(|(peer, why)| format!("{peer}: {why}")).collect();
        (!each.is_empty()).then(|| each.join("; "))
    }

    fn gone(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_back_hides_no_other() {
        let peers = Peers::default();
        let seen = peers.clone();
        assert_eq!(seen.waits_for(), None);
        let (broker, store) = (peers.peer("mqtt a:1883"), peers.peer("redis b:6379"));
        broker.lost("refused");
        store.lost("timed out");
        broker.lost("closed");
        assert_eq!(seen.waits_for().as_deref(), Some("mqtt a:1883: closed; redis b:6379: timed out"));
        broker.back();
        peers.peer("never lost").back();
        assert_eq!(seen.waits_for().as_deref(), Some("redis b:6379: timed out"));
        peers.forget();
        assert_eq!(seen.waits_for(), None);
    }
}
