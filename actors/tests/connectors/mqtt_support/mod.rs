//! What the MQTT tests share: a place for an ingress to be built in, and whom it talks to.

mod counters;
mod ingress;
mod publisher;
pub mod raw;
mod scripted;
mod site;
mod store;

pub use counters::Counters;
pub use ingress::Ingress;
pub use publisher::{Publisher, Subscriber, kick};
pub use scripted::{Peer, Scripted};
pub use site::{Site, checked};
pub use store::{MemoryStore, Mood, ProducedLog};

use std::time::Duration;

/// How long a test waits for what must happen.
pub const SOON: Duration = Duration::from_secs(20);

/// Waits for something that must happen soon.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(SOON, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {SOON:?} in vain for {what}"),
    }
}
