//! The CPU time of a process.

use std::fs;
use std::time::Duration;

use anyhow::Context;

/// User and system time that a process has used so far, all its threads together, in steps of 10 ms.
pub fn of(pid: u32) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("the process is gone")?;
    // Behind the name, which is in brackets and may hold anything, the state is field 3.
    let fields = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').collect::<Vec<_>>()).unwrap_or_default();
    let ticks = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<u64>().ok());
    let ticks = ticks(14).zip(ticks(15)).map(|(user, system)| user + system).context("no times in /proc/PID/stat")?;
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}
