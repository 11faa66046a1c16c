//! What a connection takes in memory while nothing comes over it.

use std::time::Duration;

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::Amount;
use crate::fleet::Fleet;
use crate::subject::{Kind, Subject};

/// What the processes have open besides.
const OTHER_FILES: u64 = 500;
/// Until what connecting took is given back.
const REST: Duration = Duration::from_secs(2);

/// What connections took.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// So many connections.
    pub connections: usize,
    /// The growth of the resident memory a connection, in bytes: Mosquitto.
    pub mosquitto: f64,
    /// The same of the quick start.
    pub full: f64,
}

/// As many files as may be open, for this process and those that it starts.
pub fn raise_limit() -> anyhow::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .context("the limit of open files cannot be raised")
}

/// Connects devices that say nothing, as many as asked for or as files may be open.
pub fn measure(amount: Amount) -> anyhow::Result<Memory> {
    let may = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX).saturating_sub(OTHER_FILES);
    let connections = amount.idle.min(usize::try_from(may).unwrap_or(usize::MAX));
    let each = |kind: Kind| growth(kind, connections).with_context(|| kind.title());
    let memory = Memory { connections, mosquitto: each(Kind::Mosquitto)?, full: each(Kind::Full)? };
    let Memory { mosquitto, full, .. } = memory;
    println!("{connections} idle connections: Mosquitto {mosquitto:.0} B each, telemill {full:.0} B each");
    Ok(memory)
}

fn growth(kind: Kind, connections: usize) -> anyhow::Result<f64> {
    let subject = Subject::start(kind)?;
    // What the first connection and the first record take is not a connection's.
    let mut first = Fleet::connect(subject.mqtt(), 1)?;
    first.flood(100, 10)?;
    std::thread::sleep(REST);
    let before = subject.memory()?;
    drop(first);
    let fleet = Fleet::connect(subject.mqtt(), connections)?;
    std::thread::sleep(REST);
    let after = subject.memory()?;
    drop(fleet);
    subject.stop()?;
    Ok(after.saturating_sub(before) as f64 / connections as f64)
}
