//! The memory of an idle session.
//!
//! A process of its own opens the sessions, each by one keep-alive, lets everything settle, and looks at its resident
//! set: states, table, timers and directory, with all that the allocator keeps beside them. Nothing else is in that
//! process, and there is no last payload.

use std::process::Command;
use std::time::Duration;

use crate::fleet::keep_alives;
use crate::per_record::on_a_system;
use crate::rig::Rig;
use crate::store::MemoryStore;
use crate::summary::{Row, Summary, Target};

/// The argument that makes this program the process that is looked at.
pub const CHILD: &str = "--idle-sessions";

/// Sessions opened.
const SESSIONS: usize = 1_000_000;

/// Opens so many sessions and prints what the resident set has grown by.
pub fn child(devices: usize) {
    on_a_system(async || {
        // Often: what a checkpoint takes for the moment that it is written must not count.
        let mut rig = Rig::start(&MemoryStore::counting(), Duration::from_millis(20)).await;
        let before = resident();
        for batch in keep_alives(devices) {
            rig.pass(vec![batch]).await;
        }
        rig.acknowledged().await;
        println!("{}", resident() - before);
    });
}

/// Measures and puts it into the table.
pub fn measure(summary: &mut Summary) {
    let program = std::env::current_exe().expect("a running program has a path");
    let output = Command::new(program).args([CHILD, &SESSIONS.to_string()]).output().expect("it can be started again");
    let text = String::from_utf8_lossy(&output.stdout);
    let grown: f64 = text.trim().parse().unwrap_or_else(|_| {
        panic!("the process that opens sessions failed: {}", String::from_utf8_lossy(&output.stderr))
    });
    let each = grown / SESSIONS as f64;
    println!("idle sessions: {SESSIONS} take {:.0} MB of resident memory", grown / 1e6);
    summary.add(Row {
        what: "an idle session among 1M: resident memory".to_owned(),
        measured: format!("{each:.0} B"),
        target: Target::AtMost { limit: 256.0, is: each, text: "≤ 256 B" },
    });
}

/// The resident set of this process, in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux says what a process uses");
    let pages: u64 =
        statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("the second field is a number");
    pages * rustix::param::page_size() as u64
}
