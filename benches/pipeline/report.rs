//! The tables: on the terminal, in `BENCHMARKS.md` and in `README.md`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::Amount;
use crate::cell::{Load, Row};
use crate::latency::Latency;
use crate::site::{DEVICES, PARTITIONS};

const COMMAND: &str = "cargo bench --features full --bench pipeline";
const BEGIN: &str = "<!-- written by `cargo bench --features full --bench pipeline` -->";
const END: &str = "<!-- end of what it writes -->";
/// What the engine may cost, as a multiple of the bare loop.
const TARGET: f64 = 1.3;

/// What was measured.
pub struct Report {
    /// How much was run.
    pub amount: Amount,
    /// What records cost.
    pub rows: Vec<Row>,
    /// What they took.
    pub latencies: Vec<Latency>,
}

impl Report {
    /// The tables, in Markdown.
    pub fn table(&self) -> String {
        let mut text = String::from(
            "| CPU-seconds a million records | load | engine | bare loop | ratio | least – most | target |\n\
             |---|---|---:|---:|---:|---:|---:|\n",
        );
        for row in &self.rows {
            let load = match row.load {
                Load::Live => format!("live, {} records/s", self.amount.rate),
                Load::Backlog => format!("backlog of {}", self.amount.records),
            };
            let ratios = row.pairs.iter().map(|(engine, bare)| engine.micros / bare.micros);
            let (least, ratio, most) = spread(ratios);
            let (_, engine, _) = spread(row.pairs.iter().map(|(engine, _)| engine.micros));
            let (_, bare, _) = spread(row.pairs.iter().map(|(_, bare)| bare.micros));
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "| {} | {load} | {engine:.1} | {bare:.1} | {ratio:.2} | {least:.2} – {most:.2} | ≤ {TARGET:.2} |",
                row.leg.title(),
            );
        }
        if !self.latencies.is_empty() {
            text.push_str("\n| latency, 5,000 records/s | p50 | p99 | target p99 |\n|---|---:|---:|---:|\n");
        }
        for latency in &self.latencies {
            let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
            let (p50, p99, target) = (ms(latency.p50), ms(latency.p99), ms(latency.target));
            let _ = writeln!(text, "| {} | {p50:.1} ms | {p99:.1} ms | ≤ {target:.0} ms |", latency.what);
        }
        text
    }

    /// Writes the tables to the documents.
    pub fn write(&self, root: &Path) -> anyhow::Result<()> {
        let table = self.table();
        let machine = machine();
        let pairs = self.amount.pairs;
        let live = self.amount.live.as_secs();
        replace(
            &root.join("BENCHMARKS.md"),
            &format!(
                "{table}\nOn {machine}; `{COMMAND}`, medians of {pairs} turns; live: {live} s a turn; {DEVICES} devices, \
                 {PARTITIONS} partitions, payloads of some 110 bytes.\n"
            ),
        )?;
        replace(&root.join("README.md"), &format!("{table}\nOn {machine}, medians of {pairs} turns.\n"))
    }
}

/// Least, median and most.
fn spread(values: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    (values[0], values[values.len() / 2], values[values.len() - 1])
}

/// Puts a text between the two marks of a document.
fn replace(file: &Path, text: &str) -> anyhow::Result<()> {
    let old = fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let parts = old.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) = parts.with_context(|| format!("{} has no place for the tables", file.display()))?;
    fs::write(file, format!("{before}{BEGIN}\n\n{text}\n{END}{after}"))?;
    Ok(())
}

/// The machine, as far as it matters.
fn machine() -> String {
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':'));
        value.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let model = field("/proc/cpuinfo", "model name");
    let memory = field("/proc/meminfo", "MemTotal");
    let gibibytes =
        memory.split(' ').next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default().div_ceil(1 << 20);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel: Vec<&str> = kernel.trim().split('.').take(2).collect();
    format!("{cores} cores of {model}, {gibibytes} GiB, Linux {}", kernel.join("."))
}
