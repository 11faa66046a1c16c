//! What all connections of one life of the endpoint share.

use std::sync::Arc;

use telemill_engine::clock::{Clock, Timestamp};
use telemill_engine::record::{Kind, Reason, Sent};
use tokio::runtime::Handle;
use tracing::warn;
use xxhash_rust::xxh3::xxh3_64;

use super::gate::Gate;
use super::hub::Hub;
use super::intake::{Draft, Intake};
use super::machine::Bounds;
use super::meters::Meters;
use super::settings::Limits;
use super::store::{Change, Store};
use super::wire::{Publish, Will};
use crate::ingress::payload::Unfit;
use crate::ingress::{Look, Routes};

/// The topic belongs to none of the ingress' templates.
const UNMATCHED_TOPIC: Reason = Reason("unmatched_topic");

/// Shared by all connections.
pub(crate) struct Shared {
    pub(crate) topology: Arc<str>,
    pub(crate) stage: Arc<str>,
    pub(crate) clock: Clock,
    pub(crate) hub: Arc<Hub>,
    pub(crate) store: Store,
    pub(crate) intake: Arc<Intake>,
    pub(crate) gate: Gate,
    pub(crate) routes: Routes,
    pub(crate) limits: Limits,
    pub(crate) bounds: Bounds,
    pub(crate) meters: Meters,
}

impl Shared {
    /// The time of an arrival.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Looks at a will that is to be said.
    pub(crate) fn draft_of_will(&self, will: Will) -> Draft {
        let publish = Publish { topic: will.topic, payload: will.payload, packet_id: None, dup: false };
        let draft = self.draft(publish);
        Draft { sent: Sent { will: true, ..draft.sent }, ..draft }
    }

    /// Looks at a message.
    pub(crate) fn draft(&self, publish: Publish) -> Draft {
        let Publish { topic, payload, packet_id, dup } = publish;
        let sent = Sent { dup, will: false };
        let payload_hash = hash(&topic, &payload);
        let (device, kind, unfit) = match self.routes.look(&topic, &payload) {
            Look::Fit { device, kind, with_payload } => {
                let payload = if with_payload { payload } else { bytes::Bytes::new() };
                return Draft { device: Some(device), kind, payload, unfit: None, packet_id, payload_hash, sent };
            }
            Look::Unfit { device, kind, why } => (device, kind, why),
            Look::Unmatched => {
                let detail = "the topic belongs to none of the ingress' templates".to_owned();
                (None, Kind::Data, Unfit { reason: UNMATCHED_TOPIC, detail })
            }
        };
        Draft { device, kind, payload, unfit: Some((unfit, topic)), packet_id, payload_hash, sent }
    }

    /// Writes what nobody waits for: where it fails, something that is done may come again after a restart.
    pub(crate) fn commit_behind(&self, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        // A connection's task may be dropped with its runtime.
        let Ok(runtime) = Handle::try_current() else { return };
        let (store, topology) = (self.store.clone(), self.topology.clone());
        runtime.spawn(async move {
            if let Err(error) = store.commit(changes).await {
                warn!(code = "mqtt_endpoint::sessions_not_written", %topology, %error, "MQTT sessions were not written");
            }
        });
    }
}

/// The hash by which a message is known when it comes again: topic, a zero byte, payload.
fn hash(topic: &str, payload: &[u8]) -> u64 {
    const INLINE: usize = 1024;
    let length = topic.len() + 1 + payload.len();
    let mut inline = [0; INLINE];
    match inline.get_mut(..length) {
        Some(buffer) => {
            buffer[..topic.len()].copy_from_slice(topic.as_bytes());
            buffer[topic.len() + 1..].copy_from_slice(payload);
            xxh3_64(buffer)
        }
        None => xxh3_64(&[topic.as_bytes(), &[0], payload].concat()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_format() {
        assert_eq!(hash("a/b", b"{}"), xxh3_64(b"a/b\0{}"));
        let long = vec![b'1'; 5000];
        assert_eq!(hash("a/b", &long), xxh3_64(&[b"a/b\0", &long[..]].concat()));
        assert_eq!(hash("", &long[..1023]), xxh3_64(&[b"\0", &long[..1023]].concat()));
    }
}
