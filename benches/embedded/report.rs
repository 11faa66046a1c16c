//! The tables: on the terminal and in `BENCHMARKS.md`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::Amount;
use crate::latency::Latency;
use crate::memory::Memory;
use crate::subject::Kind;
use crate::turn::{Cost, Turn};

const COMMAND: &str = "cargo bench --features full --bench embedded";
const BEGIN: &str = "<!-- written by `cargo bench --features full --bench embedded` -->";
const END: &str = "<!-- end of what it writes -->";

/// What was measured.
pub struct Report {
    /// How much was run.
    pub amount: Amount,
    /// The costs, turn by turn.
    pub turns: Vec<Turn>,
    /// From PUBLISH to update.
    pub latency: Latency,
    /// Of idle connections.
    pub memory: Memory,
}

impl Report {
    /// The tables, in Markdown, and where they were taken.
    pub fn text(&self) -> String {
        let Amount { records, connections, window, rate, steady, turns, .. } = self.amount;
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {records} records at full speed | records/s | CPU a record | of Mosquitto's | least – most | target | |\n\
             |---|---:|---:|---:|---:|---:|---|"
        );
        for kind in Kind::ALL {
            let rate = self.median(kind, |cost| cost.rate);
            let _ = writeln!(text, "| {} | {rate:.0} | {}", kind.title(), self.against(kind, |cost| cost.micros));
        }
        let _ = writeln!(
            text,
            "\n| {rate} records/s | CPU a record | of Mosquitto's | least – most | target | |\n|---|---:|---:|---:|---:|---|"
        );
        for kind in Kind::ALL {
            let _ = writeln!(text, "| {} | {}", kind.title(), self.against(kind, |cost| cost.steady));
        }
        let _ = writeln!(text, "\n| | measured |\n|---|---:|");
        for (what, measured) in self.rows() {
            let _ = writeln!(text, "| {what} | {measured} |");
        }
        let _ = writeln!(
            text,
            "\nOn {}; `{COMMAND}`, medians of {turns} turns; {connections} connections at QoS 1, up to {window} records of \
             each unacknowledged at full speed, {} s a turn at the steady rate, payloads of some 110 bytes.",
            machine(),
            steady.as_secs(),
        );
        text
    }

    fn rows(&self) -> Vec<(String, String)> {
        let Latency { count, p50, p99, most, late } = self.latency;
        let ms = |time: std::time::Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
        let at = format!("at {} records/s, {count} records of 5 devices", self.amount.rate);
        let stored = self.median(Kind::Full, |cost| cost.stored.unwrap_or_default());
        let mut rows = vec![
            ("in the store at full speed".to_owned(), format!("{stored:.0} records/s")),
            (format!("PUBLISH → update, p50, {at}"), ms(p50)),
            ("PUBLISH → update, p99".to_owned(), ms(p99)),
            (
                "PUBLISH → update, longest (the generator was late by up to)".to_owned(),
                format!("{} ({})", ms(most), ms(late)),
            ),
        ];
        for (kind, what) in [(Kind::Log, "log"), (Kind::Full, "log, sessions, alerts, store")] {
            let (journals, tables) = (self.median(kind, |c| c.journals), self.median(kind, |c| c.tables));
            let name = format!("on disk a record: {what} (tables + journals)");
            rows.push((name, format!("{:.0} B ({tables:.0} + {journals:.0})", tables + journals)));
        }
        let Memory { connections, mosquitto, full } = self.memory;
        rows.push((format!("memory of an idle connection, of {connections}"), format!("{full:.0} B")));
        rows.push(("the same with Mosquitto".to_owned(), format!("{mosquitto:.0} B")));
        rows
    }

    /// The cells of a cost beside Mosquitto's.
    fn against(&self, kind: Kind, cost: impl Fn(&Cost) -> f64) -> String {
        let micros = self.median(kind, &cost);
        let Some((target, named)) = kind.target() else { return format!("{micros:.1} µs | 1 | | | |") };
        let [index, base] = [kind, Kind::Mosquitto].map(|kind| kind as usize);
        let (least, ratio, most) = spread(self.turns.iter().map(|turn| cost(&turn[index]) / cost(&turn[base])));
        let verdict = if ratio <= target { "met" } else { "NOT MET" };
        format!("{micros:.1} µs | {ratio:.2} | {least:.2} – {most:.2} | {named} | {verdict} |")
    }

    fn median(&self, kind: Kind, value: impl Fn(&Cost) -> f64) -> f64 {
        spread(self.turns.iter().map(|turn| value(&turn[kind as usize]))).1
    }

    /// Writes the tables to the document.
    pub fn write(&self, root: &Path) -> anyhow::Result<()> {
        let file = root.join("BENCHMARKS.md");
        let old = fs::read_to_string(&file).with_context(|| format!("{} cannot be read", file.display()))?;
        let parts = old.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
        let (before, after) = parts.with_context(|| format!("{} has no place for the tables", file.display()))?;
        fs::write(&file, format!("{before}{BEGIN}\n\n{}\n{END}{after}", self.text()))
            .with_context(|| format!("{} cannot be written", file.display()))
    }
}

/// Least, median and most.
fn spread(values: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    (at(0), at(values.len() / 2), at(values.len().saturating_sub(1)))
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
