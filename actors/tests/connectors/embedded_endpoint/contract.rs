//! The contract of an ingress, by the endpoint.

use std::sync::Arc;

use serde_json::json;
use telemill_actors::embedded::EmbeddedConnection;
use telemill_actors::embedded::endpoint::{EmbeddedCommands, EmbeddedIngress};
use telemill_engine::context::Connections;
use telemill_engine::record::Record;
use telemill_services::eventually;

use super::fixture::{self, Site};
use crate::conformance::ingress::device::WINDOW;
use crate::conformance::ingress::{Harness, ingress_suite};
use crate::mqtt_support::SOON;

ingress_suite!(EndpointHarness);

/// What a device of version 5 is told that it may have unacknowledged; of 3.1.1 four times as many are read.
const INFLIGHT: usize = 50;

/// The endpoint in a data directory of its own. Whatever is built by one process hangs on one connection.
struct EndpointHarness {
    site: Site,
    local: Arc<EmbeddedConnection>,
}

impl EndpointHarness {
    fn connections(&self) -> Connections {
        Connections::new().with("local", self.local.clone())
    }
}

impl Harness for EndpointHarness {
    type Source = EmbeddedIngress;
    type Commands = EmbeddedCommands;

    const ACKNOWLEDGES_TO_DEVICES: bool = true;
    /// The default of `limits.topic`: what is longer is refused on the wire.
    const LONGEST_TOPIC: usize = 1024;
    /// The last read, of 16 KiB, may bring in some beyond.
    const MOST_UNACKNOWLEDGED: usize = 4 * INFLIGHT + 17 + WINDOW;

    async fn start() -> Self {
        let site = Site::with(json!({ "limits": { "inflight": INFLIGHT } }));
        EndpointHarness { local: site.connection(), site }
    }

    async fn build(&self) -> EmbeddedIngress {
        self.site.build(&self.connections()).await
    }

    async fn commands(&self) -> EmbeddedCommands {
        fixture::commands(&self.connections()).await
    }

    async fn crash(&mut self) {
        self.local = self.site.connection();
        let disk = async || self.local.disk().await.ok();
        eventually(SOON, "the data directory to be let go of", disk).await;
    }

    fn address(&self) -> String {
        self.local.endpoint().address().unwrap().to_string()
    }

    fn topic(&self, device: &str, word: &str) -> String {
        format!("devices/{device}/{word}")
    }

    /// Nobody asks: what a device sends again is produced again.
    fn has(&self, _: &[Record]) {}
}
