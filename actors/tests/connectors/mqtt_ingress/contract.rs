//! The contract of an ingress, by a real Mosquitto.

use telemill_actors::mqtt_commands::MqttCommands;
use telemill_actors::mqtt_ingress::MqttIngress;
use telemill_engine::record::Record;
use telemill_services::Services;

use crate::conformance::ingress::{Harness, ingress_suite};
use crate::mqtt_commands;
use crate::mqtt_support::Site;

ingress_suite!(Mosquitto);

/// The broker that all tests share.
struct Mosquitto {
    site: Site,
}

impl Harness for Mosquitto {
    type Source = MqttIngress;
    type Commands = MqttCommands;

    const ACKNOWLEDGES_TO_DEVICES: bool = false;
    /// The longest that MQTT allows.
    const LONGEST_TOPIC: usize = 65_535;
    /// The broker's own window: `max_inflight_messages` in `config/mosquitto.conf`.
    const MOST_UNACKNOWLEDGED: usize = 1000;

    async fn start() -> Self {
        Mosquitto { site: Site::new(Services::shared().mqtt_url()) }
    }

    async fn build(&self) -> MqttIngress {
        self.site.try_build().await.unwrap()
    }

    async fn commands(&self) -> MqttCommands {
        mqtt_commands::build(&self.site).await
    }

    /// What outlives a process is with the broker, and in the site's store.
    async fn crash(&mut self) {}

    fn address(&self) -> String {
        self.site.connection.url.trim_start_matches("mqtt://").to_owned()
    }

    fn topic(&self, device: &str, word: &str) -> String {
        format!("{}/{device}/{word}", self.site.topology)
    }

    fn has(&self, records: &[Record]) {
        self.site.router.has(records.iter().filter_map(|record| record.origin));
    }
}
