//! `telemill devices`

use clap::Args;
use serde_json::Value;

use super::client::{Client, encoded};
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
            Some(device) => self.client.get(&format!("/api/v1/devices/{}?limit={}", encoded(device), self.limit))?,
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
    for device in devices {
        out::line(device["device_id"].as_str().unwrap_or_default())?;
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
