//! `telemill alerts`

use std::io::{BufRead, BufReader};
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::client::{Client, query};
use super::{DONE, Output, out};

/// How long to wait before connecting again.
const AGAIN: Duration = Duration::from_secs(1);

/// Alerts: those that are active, and transitions as they happen.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  telemill alerts list\n  telemill alerts tail\n  telemill alerts tail -o json | jq .state"
)]
pub struct Alerts {
    #[command(subcommand)]
    verb: AlertsVerb,
    /// Only those of this topology; needed for `tail` where an instance runs several.
    #[arg(long, global = true, value_name = "NAME")]
    topology: Option<String>,
    /// How results are printed.
    #[arg(short, long, value_enum, default_value_t, global = true)]
    output: Output,
    #[command(flatten)]
    client: Client,
}

#[derive(Subcommand)]
enum AlertsVerb {
    /// The alerts that are pending or firing.
    List,
    /// Every transition from now on, until interrupted. Goes on where it was after a lost connection.
    Tail {
        /// Of a topology with several alert logs, the one that this stage keeps.
        #[arg(long, value_name = "NAME")]
        stage: Option<String>,
    },
}

impl Alerts {
    /// Exit 0 when the instance answered, 1 when not.
    pub fn run(self) -> anyhow::Result<u8> {
        match &self.verb {
            AlertsVerb::List => {
                let alerts =
                    self.client.get(&format!("/api/v1/alerts{}", query(&[("topology", self.topology.as_deref())])))?;
                match self.output {
                    Output::Json => out::line(alerts)?,
                    Output::Text => {
                        for alert in alerts.as_array().into_iter().flatten() {
                            out::line(line(alert))?;
                        }
                    }
                }
            }
            AlertsVerb::Tail { stage } => self.tail(stage.as_deref())?,
        }
        Ok(DONE)
    }

    fn tail(&self, stage: Option<&str>) -> anyhow::Result<()> {
        let mut last: Option<String> = None;
        let path =
            format!("/api/v1/alerts/stream{}", query(&[("topology", self.topology.as_deref()), ("stage", stage)]));
        let mut stream = self.client.events(&path, None)?;
        loop {
            for line in BufReader::new(stream).lines() {
                let Ok(line) = line else { break };
                if let Some(id) = line.strip_prefix("id: ") {
                    last = Some(id.to_owned());
                } else if let Some(data) = line.strip_prefix("data: ") {
                    self.print(data)?;
                }
            }
            out::note("the stream ended; connecting again");
            stream = loop {
                std::thread::park_timeout(AGAIN);
                if let Ok(stream) = self.client.events(&path, last.as_deref()) {
                    break stream;
                }
            };
        }
    }

    fn print(&self, data: &str) -> Result<(), out::Unprinted> {
        match (self.output, serde_json::from_str::<Value>(data)) {
            (Output::Text, Ok(alert)) => out::line(self::line(&alert)),
            _ => out::line(data),
        }
    }
}

fn line(alert: &Value) -> String {
    let text = |key: &str| alert[key].as_str().unwrap_or_default();
    let summary = alert["annotations"]["summary"].as_str().unwrap_or_default();
    format!("{:<8} {} {} {summary}", text("state"), text("alertname"), text("device_id")).trim_end().to_owned()
}
