//! The cost of the running engine, whole process, beside a bare loop on the same libraries.
//!
//! What a record costs is the CPU time, user and system, that the process spends on it: from MQTT to Kafka and from
//! Kafka to Redis, live at a steady rate and draining a backlog. Engine and bare loop take turns on the same services in
//! the same run, so that what the machine does besides hits both; only their ratio is judged.
//!
//! `cargo bench --features full --bench pipeline` starts what it needs, prints the table and writes it to `BENCHMARKS.md` and
//! `README.md`. A further peer is another [`subject::Kind`]: a command that does a leg and says when it is ready.

#![expect(
    clippy::disallowed_methods,
    reason = "the load is paced on threads of its own, and what is measured is kept until it is counted"
)]

mod bare_mqtt;
mod bare_redis;
mod cell;
mod cpu;
mod latency;
mod leg;
mod load;
mod report;
mod site;
mod subject;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;

use leg::Leg;
use site::Site;

/// CPU a record of the running engine, beside bare loops on the same libraries.
#[derive(Parser)]
#[command(name = "cargo bench --features full --bench pipeline --")]
struct Arguments {
    /// Records in a backlog.
    #[arg(long, default_value_t = 200_000)]
    records: usize,
    /// Records a second of a live run.
    #[arg(long, default_value_t = 4_000)]
    rate: usize,
    /// How long a live run is measured.
    #[arg(long, default_value_t = 8, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(2..=600))]
    live: u64,
    /// How often engine and bare loop take turns; the median counts.
    #[arg(long, default_value_t = 3)]
    pairs: usize,
    /// One leg only; nothing is written to the documents.
    #[arg(long, value_enum)]
    leg: Option<Leg>,
    /// A short run to see that everything works; nothing is written to the documents.
    #[arg(long)]
    quick: bool,
    /// Runs as the bare loop of this leg, for the site whose names begin with `--name`.
    #[arg(long, hide = true, value_enum, requires = "name")]
    bare: Option<Leg>,
    #[arg(long, hide = true)]
    name: Option<String>,
    /// What cargo passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// How much is run.
#[derive(Clone, Copy)]
pub struct Amount {
    /// Records in a backlog.
    pub records: usize,
    /// Records a second of a live run.
    pub rate: usize,
    /// How long a live run is measured.
    pub live: Duration,
    /// How often engine and bare loop take turns.
    pub pairs: usize,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let (Some(leg), Some(name)) = (arguments.bare, &arguments.name) {
        let site = Site::named(name);
        return match leg {
            Leg::Mqtt => bare_mqtt::main(&site),
            Leg::Redis => bare_redis::main(&site),
        };
    }
    ensure!(arguments.records > 0 && arguments.rate > 0 && arguments.pairs > 0, "there is nothing to measure");
    let amount = match arguments.quick {
        true => Amount { records: 20_000, rate: arguments.rate, live: Duration::from_secs(2), pairs: 1 },
        false => Amount {
            records: arguments.records,
            rate: arguments.rate,
            live: Duration::from_secs(arguments.live),
            pairs: arguments.pairs,
        },
    };
    let legs = arguments.leg.map_or_else(|| vec![Leg::Mqtt, Leg::Redis], |leg| vec![leg]);
    let rows = cell::measure(&legs, amount)?;
    let latencies = match arguments.leg {
        None => latency::measure(amount)?,
        Some(_) => Vec::new(),
    };
    let report = report::Report { amount, rows, latencies };
    println!("\n{}", report.table());
    if arguments.quick || arguments.leg.is_some() {
        return Ok(());
    }
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    report.write(&root).context("the tables cannot be written")
}
