//! `telemill simulate`: a fleet of devices over real MQTT.
//!
//! What is sent is made by pure parts from the arguments alone ([`schedule`], [`fleet`], [`template`]); what is counted
//! as acknowledged was: each message is published at QoS 1 and counted at its PUBACK.

mod connection;
mod demo;
mod fleet;
mod random;
mod report;
mod run;
mod schedule;
mod tally;
mod template;
mod window;

use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;
use telemill_actors::mqtt::MqttConnection;
use telemill_engine::device_id::DeviceId;
use telemill_engine::topology::HumanDuration;
use tokio::time::Instant;

use self::connection::Shared;
pub use self::demo::Demo;
use self::fleet::{Fleet, Traits};
use self::report::{End, Report};
use self::run::Stop;
use self::schedule::{Schedule, Terms};
use self::tally::{Summary, Tally};
use self::template::Template;
use super::{BadInput, DONE, FAILED, Output, out};

/// Publish as a fleet of devices over real MQTT.
///
/// Devices take turns at an even rate and publish at QoS 1 to devices/ID/data; every device says hello on
/// devices/ID/hello once a period. Runs for --count records, for --for, or until Ctrl-C, then waits until the broker has
/// acknowledged everything and prints a summary. What the broker holds up is caught up with.
///
/// Exit 0 when everything was acknowledged, 1 when the broker stayed away for --timeout or a second Ctrl-C came, 2 when
/// the arguments are at fault.
#[derive(Args)]
#[command(after_help = "\
Payload templates are JSON with placeholders:
  {{device_id}}     the device's id, without quotes
  {{seq}}           the running number of the device's records, from 1
  {{temperature}}   degrees Celsius: wanders around 22; rises above 80 on devices that --hot makes hot
  {{rand MIN MAX}}  a random number: whole where both are, else with as many decimals as they have
  {{uuid}}          a random UUID, without quotes
  {{now}}           Unix time in milliseconds; all else is the same for the same --seed
Without --payload a record has device_id, seq, temperature and humidity.

Examples:
  telemill simulate
  telemill simulate --devices 1000 --rate 5000 --for 1m
  telemill simulate --devices 1000 --rate 0 --count 100000 --seed 7 -o json
  telemill simulate --hot 1 --silent 2 --malformed 1 --duplicate 5
  telemill simulate --payload '{\"id\":\"{{uuid}}\",\"level\":{{rand 0 100}},\"volts\":{{rand 3.10 4.20}}}'")]
pub struct Simulate {
    /// The broker: mqtt://[user[:password]@]host[:port].
    #[arg(long, env = "MQTT_URL", hide_env_values = true, default_value = "mqtt://127.0.0.1:1883")]
    url: String,
    /// How many devices.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    devices: u32,
    /// Records a second of all devices together; 0 is as fast as possible.
    #[arg(long, default_value_t = 50.0, value_name = "R", value_parser = rate, allow_negative_numbers = true)]
    rate: f64,
    /// End after so many records. Hellos and duplicates do not count.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// End after this time.
    #[arg(long = "for", value_name = "DURATION")]
    lasts: Option<HumanDuration>,
    /// What a record looks like; see below.
    #[arg(long, value_name = "TEMPLATE", default_value = DEFAULT_PAYLOAD, hide_default_value = true)]
    payload: String,
    /// The same seed makes the same data. Without one it is random, and printed.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How many MQTT connections; a device keeps to one. [default: one a device, at most 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: Option<u32>,
    /// What topics begin with: PREFIX/ID/data and PREFIX/ID/hello.
    #[arg(long, default_value = "devices", value_name = "PREFIX")]
    topic_prefix: String,
    /// What device ids begin with; their number follows, from 1.
    #[arg(long, default_value = "device-", value_name = "PREFIX")]
    device_prefix: String,
    /// How often each device says hello; 0s is never.
    #[arg(long, default_value = "30s", value_name = "DURATION")]
    hello_every: HumanDuration,
    /// The first so many devices fall silent, at --silent-after.
    #[arg(long, default_value_t = 0, value_name = "N")]
    silent: u32,
    /// When those devices fall silent.
    #[arg(long, default_value = "30s", value_name = "DURATION")]
    silent_after: HumanDuration,
    /// The last so many devices get hotter with every record, above 80 °C, and stay there.
    #[arg(long, default_value_t = 0, value_name = "N")]
    hot: u32,
    /// So many of a hundred records are broken: cut off, empty, no JSON, not UTF-8.
    #[arg(long, default_value_t = 0.0, value_name = "PERCENT", value_parser = percent, allow_negative_numbers = true)]
    malformed: f64,
    /// So many of a hundred records are sent twice.
    #[arg(long, default_value_t = 0.0, value_name = "PERCENT", value_parser = percent, allow_negative_numbers = true)]
    duplicate: f64,
    /// Give up when the broker was away, or did not acknowledge, for this long.
    #[arg(long, default_value = "30s", value_name = "DURATION")]
    timeout: HumanDuration,
    /// How the summary is printed.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

const DEFAULT_PAYLOAD: &str =
    r#"{"device_id":"{{device_id}}","seq":{{seq}},"temperature":{{temperature}},"humidity":{{rand 30.0 60.0}}}"#;

/// Arguments that are in order.
struct Checked {
    broker: MqttConnection,
    traits: Traits,
    terms: Terms,
    connections: u32,
}

impl Simulate {
    /// Publishes to the end.
    pub fn run(self) -> anyhow::Result<u8> {
        let checked = match self.check() {
            Ok(checked) => checked,
            Err(problem) => return Err(BadInput(format!("{problem:#}")).into()),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.context("cannot start the runtime")?.block_on(self.publish(checked))
    }

    fn check(&self) -> anyhow::Result<Checked> {
        let broker =
            MqttConnection::at(&self.url).context("--url (or MQTT_URL) is not mqtt://[user[:password]@]host[:port]")?;
        let template = Template::parse(&self.payload).context("--payload is no template")?;
        let longest = format!("{}{}", self.device_prefix, self.devices);
        DeviceId::new(longest.as_bytes()).context("--device-prefix makes no device ids")?;
        if self.topic_prefix.is_empty()
            || self.topic_prefix.len() > 1024
            || self.topic_prefix.starts_with('$')
            || self.topic_prefix.contains(['+', '#', '\0'])
        {
            bail!("--topic-prefix has 1 to 1024 bytes, no `+`, `#` or zero, and does not begin with `$`");
        }
        for (option, given) in [("--silent", self.silent), ("--hot", self.hot)] {
            if given > self.devices {
                bail!("{option} {given} are more than there are devices ({})", self.devices);
            }
        }
        if self.timeout.get().is_zero() {
            bail!("--timeout 0s leaves the broker no time; 30s is a good value");
        }
        let hello_every = self.hello_every.get();
        let traits = Traits {
            devices: self.devices,
            seed: self.seed.unwrap_or_else(rand::random),
            template,
            device_prefix: self.device_prefix.clone(),
            topic_prefix: self.topic_prefix.clone(),
            hot: self.hot,
            malformed: self.malformed,
            duplicate: self.duplicate,
        };
        let terms = Terms {
            devices: self.devices,
            rate: self.rate,
            count: self.count,
            lasts: self.lasts.map(HumanDuration::get),
            hello_every: (!hello_every.is_zero()).then_some(hello_every),
            silent: self.silent,
            silent_after: self.silent_after.get(),
        };
        let connections = self.connections.map_or_else(|| default_connections(self.devices), |n| n.min(self.devices));
        Ok(Checked { broker, traits, terms, connections })
    }

    async fn publish(&self, checked: Checked) -> anyhow::Result<u8> {
        let Checked { broker, traits, terms, connections } = checked;
        let seed = traits.seed;
        let end = match (terms.count, terms.lasts) {
            (Some(count), _) => End::Count(count),
            (None, Some(lasts)) => End::Time(lasts),
            (None, None) => End::Open,
        };
        let stop = Stop::signals().context("cannot listen for signals")?;
        let (schedule, fleet) = (Schedule::new(terms), Fleet::new(traits));
        let shared = Shared {
            broker,
            patience: self.timeout.get(),
            start: Instant::now(),
            tally: Tally::default(),
            report: Report::new(end),
        };
        let (summary, result) = run::run(Arc::new(shared), schedule, fleet, connections, stop).await;
        if let Err(failure) = &result {
            out::note(format_args!("error: {failure}"));
        }
        match self.output {
            Output::Json => out::line(with_seed(&summary, seed)?)?,
            Output::Text => out::text(text(&summary, seed))?,
        }
        Ok(if result.is_ok() { DONE } else { FAILED })
    }
}

/// The connections of a fleet: one a device, at most 16.
fn default_connections(devices: u32) -> u32 {
    devices.min(16)
}

fn with_seed(summary: &Summary, seed: u64) -> anyhow::Result<serde_json::Value> {
    let mut value = serde_json::to_value(summary).context("cannot print the summary")?;
    value["seed"] = json!(seed);
    Ok(value)
}

fn text(summary: &Summary, seed: u64) -> String {
    let Summary { published, acknowledged, records, malformed, duplicates, hellos, resent, .. } = summary;
    let Summary { seconds, rate, puback_p50_ms, puback_p99_ms, .. } = summary;
    format!(
        "published     {published}: {records} records ({malformed} malformed), {duplicates} duplicates, {hellos} hellos\n\
         acknowledged  {acknowledged} in {seconds:.1} s, {rate:.0}/s; {resent} sent again\n\
         PUBACK        p50 {puback_p50_ms:.1} ms, p99 {puback_p99_ms:.1} ms\n\
         seed          {seed}\n"
    )
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "it is not a number".to_owned())?;
    (rate.is_finite() && rate >= 0.0).then_some(rate).ok_or_else(|| "it is not 0 or above".to_owned())
}

fn percent(text: &str) -> Result<f64, String> {
    let percent: f64 = text.parse().map_err(|_| "it is not a number".to_owned())?;
    (0.0..=100.0).contains(&percent).then_some(percent).ok_or_else(|| "it is not between 0 and 100".to_owned())
}
