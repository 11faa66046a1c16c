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

use std::sync::Arc;
use std::time::Duration;

use telemill_engine::ack::Guards;
use telemill_engine::batch::Batch;
use telemill_engine::record::Record;
use telemill_engine::sink::{Sink, Submitted};
use telemill_services::eventually;

/// How long a test waits for what must happen.
pub const SOON: Duration = Duration::from_secs(20);

/// Waits for something that must happen soon.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(SOON, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {SOON:?} in vain for {what}"),
    }
}

/// Submits commands until they are taken, as the engine does.
pub async fn deliver(sink: &mut impl Sink, records: Vec<Record>) {
    let batch = Arc::new(Batch::new(0, records, Guards::none()));
    eventually(SOON, "the commands to be delivered", async || {
        let submitted = sink.submit(batch.clone()).await.await;
        match submitted {
            Submitted::Delivered => Some(()),
            // As long as it has no connection.
            Submitted::Retry { .. } => None,
            other => panic!("{other:?}"),
        }
    })
    .await;
}
