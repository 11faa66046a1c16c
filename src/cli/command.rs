//! `telemill command`

use clap::Args;

use super::client::{Client, encoded, query};
use super::{DONE, Output, out};

/// Send a command to a device.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  telemill command d1 '{\"command\":\"start\"}'\n  telemill command d1 '{\"command\":\"update\"}' --ttl 10m"
)]
pub struct Command {
    /// The device.
    device: String,
    /// The command, as JSON.
    body: String,
    /// How long it may wait for a device that is offline.
    #[arg(long)]
    ttl: Option<String>,
    /// The topology that is to take it, where an instance runs several that could.
    #[arg(long, value_name = "NAME")]
    topology: Option<String>,
    /// How results are printed.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    client: Client,
}

impl Command {
    /// Exit 0 when the command is accepted, 1 when not, 2 when it is no command.
    pub fn run(self) -> anyhow::Result<u8> {
        let query = query(&[("ttl", self.ttl.as_deref()), ("topology", self.topology.as_deref())]);
        let answer = self.client.post(&format!("/devices/{}/command{query}", encoded(&self.device)), &self.body)?;
        match self.output {
            Output::Json => out::line(answer)?,
            Output::Text => {
                out::line(format_args!("accepted as {}", answer["command_id"].as_str().unwrap_or_default()))?;
            }
        }
        Ok(DONE)
    }
}
