//! `telemill devices`

use std::collections::BTreeSet;

use clap::Args;
use serde_json::Value;

use super::client::{Client, encoded, query};
use super::out::{self, Unprinted};
use super::{DONE, Output};

/// List the devices that are online, or show one with its state and history.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  telemill devices\n  telemill devices d1 --limit 5\n  telemill devices -o json | jq '.[].device_id'"
)]
pub struct Devices {
    /// Show this device.
    device: Option<String>,
    /// The newest so many messages of its history.
    #[arg(long, default_value_t = 10)]
    limit: usize,
    /// As this topology knows the device; needed where an instance runs several that have it in their stores.
    #[arg(long, requires = "device")]
    topology: Option<String>,
    /// How results are printed.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    client: Client,
}

impl Devices {
    /// Exit 0 when the instance answered, 1 when not.
    pub fn run(self) -> anyhow::Result<u8> {
        let answer = match &self.device {
            None => self.client.get("/api/v1/devices")?,
            Some(device) => {
                let limit = self.limit.to_string();
                let query = query(&[("limit", Some(&limit)), ("topology", self.topology.as_deref())]);
                self.client.get(&format!("/api/v1/devices/{}{query}", encoded(device)))?
            }
        };
        match (self.output, self.device) {
            (Output::Json, _) => out::line(answer)?,
            (Output::Text, None) => print_list(&answer)?,
            (Output::Text, Some(_)) => print_one(&answer)?,
        }
        Ok(DONE)
    }
}

fn print_list(devices: &Value) -> Result<(), Unprinted> {
    let devices = devices.as_array().map(Vec::as_slice).unwrap_or_default();
    // Several topologies may know one device.
    let devices: BTreeSet<&str> = devices.iter().filter_map(|device| device["device_id"].as_str()).collect();
    for device in &devices {
        out::line(device)?;
    }
    out::note(format_args!("{} online", devices.len()));
    Ok(())
}

fn print_one(device: &Value) -> Result<(), Unprinted> {
    let online = if device["online"] == Value::Bool(true) { "online" } else { "offline" };
    out::line(format_args!("{} is {online}", device["device_id"].as_str().unwrap_or_default()))?;
    if !device["state"].is_null() {
        out::line(format_args!("state   {} at {}", device["state"]["payload"], device["state"]["timestamp"]))?;
    }
    for message in device["history"].as_array().into_iter().flatten() {
        out::line(format_args!("history {} {}", message["timestamp"], message["payload"]))?;
    }
    Ok(())
}
