//! The embedded default beside Mosquitto: what a durable record costs from PUBLISH to PUBACK, and to the store.
//!
//! The same devices publish the same records at QoS 1 to Mosquitto, to an endpoint with nothing but its log behind it, and
//! to the shipped quick start. They take turns in the same run, so that what the machine does besides hits all of them;
//! the ratio of CPU time a record is judged, turn by turn. Besides: the time to a device's update, the bytes on disk a
//! record, and the memory of an idle connection. Its log against fjall alone is another benchmark,
//! `cargo bench -p telemill-actors --bench embedded_log`.
//!
//! `cargo bench --features full --bench embedded` starts what it needs, prints the tables and writes them to
//! `BENCHMARKS.md`.

#![expect(
    clippy::disallowed_methods,
    reason = "the load is paced on threads of its own, and what is measured is kept until it is counted"
)]

#[path = "../pipeline/cpu.rs"]
mod cpu;
mod fleet;
mod latency;
mod memory;
mod report;
mod scratch;
mod subject;
mod topology;
mod turn;
mod wire;

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use clap::builder::RangedU64ValueParser;

/// The embedded default beside Mosquitto: CPU and time a record, bytes on disk, memory a connection.
#[derive(Parser)]
#[command(name = "cargo bench --features full --bench embedded --")]
struct Arguments {
    /// Records at full speed, of all connections together.
    #[arg(long, default_value_t = 200_000, value_parser = within(1, 100_000_000))]
    records: usize,
    /// Connections, each of a device of its own.
    #[arg(long, default_value_t = 50, value_parser = within(1, 1000))]
    connections: usize,
    /// Records of a connection that may wait for their PUBACK.
    #[arg(long, default_value_t = 50, value_parser = within(1, 1000))]
    window: usize,
    /// Records a second where the rate is steady.
    #[arg(long, default_value_t = 2_000, value_parser = within(1, 100_000))]
    rate: usize,
    /// How long the CPU time is taken at the steady rate.
    #[arg(long, default_value_t = 5, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    steady: u64,
    /// How long updates are listened to at the steady rate.
    #[arg(long, default_value_t = 20, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    heard: u64,
    /// How often the subjects take turns; the median counts.
    #[arg(long, default_value_t = 3, value_parser = within(1, 100))]
    turns: usize,
    /// Idle connections whose memory is taken.
    #[arg(long, default_value_t = 5_000, value_parser = within(1, 15_000))]
    idle: usize,
    /// A short run to see that everything works; nothing is written to the document.
    #[arg(long)]
    quick: bool,
    /// What cargo passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn within(least: u64, most: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(least..=most)
}

/// How much is run.
#[derive(Clone, Copy)]
pub struct Amount {
    /// Records at full speed.
    pub records: usize,
    /// Connections that publish.
    pub connections: usize,
    /// Records of a connection that may wait for their PUBACK.
    pub window: usize,
    /// Records a second where the rate is steady.
    pub rate: usize,
    /// How long the CPU time is taken at that rate.
    pub steady: Duration,
    /// How long updates are listened to.
    pub heard: Duration,
    /// How often the subjects take turns.
    pub turns: usize,
    /// Idle connections.
    pub idle: usize,
}

fn main() -> anyhow::Result<()> {
    let Arguments { records, connections, window, rate, steady, heard, turns, idle, quick, bench: _ } =
        Arguments::parse();
    let (steady, heard) = (Duration::from_secs(steady), Duration::from_secs(heard));
    let amount = Amount { records, connections, window, rate, steady, heard, turns, idle };
    let amount = match quick {
        false => amount,
        true => Amount {
            records: records.min(20_000),
            steady: Duration::from_secs(2),
            heard: Duration::from_secs(3),
            turns: 1,
            idle: idle.min(1000),
            ..amount
        },
    };
    memory::raise_limit()?;
    let turns = turn::measure(amount)?;
    let latency = latency::measure(amount).context("PUBLISH → update")?;
    let memory = memory::measure(amount).context("memory of idle connections")?;
    let report = report::Report { amount, turns, latency, memory };
    println!("\n{}", report.text());
    match quick {
        true => Ok(()),
        false => report.write(Path::new(env!("CARGO_MANIFEST_DIR"))).context("the tables cannot be written"),
    }
}
