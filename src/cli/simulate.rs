//! `telemill simulate`

use clap::Args;

/// Publish as a fleet of devices over real MQTT.
#[derive(Args)]
pub struct Simulate {}

impl Simulate {
    /// Publishes.
    pub fn run(self) -> anyhow::Result<u8> {
        anyhow::bail!("not there yet")
    }
}
