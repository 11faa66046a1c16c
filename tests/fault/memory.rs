//! The memory of an engine, looked at all the time: what it has let go of again by the end of a round counts too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::check::Findings;
use crate::limits::MEMORY;

/// How often it is looked at.
const EVERY: Duration = Duration::from_millis(50);

/// Looks until it is told to stop.
pub struct Memory {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Memory {
    /// Watches whichever process the id is of.
    pub fn of(pid: &Arc<AtomicU32>) -> Memory {
        let stop = Arc::<AtomicBool>::default();
        let (stopped, pid) = (stop.clone(), pid.clone());
        let thread = thread::spawn(move || {
            let mut most = 0;
            while !stopped.load(Ordering::Acquire) {
                most = most.max(resident(pid.load(Ordering::Relaxed)).unwrap_or(0));
                thread::park_timeout(EVERY);
            }
            most
        });
        Memory { stop, thread }
    }

    /// The most that was resident, in bytes. More than is allowed is a finding, and so is none: then nothing was seen.
    pub fn end(self, findings: &mut Findings) -> u64 {
        self.stop.store(true, Ordering::Release);
        let resident = self.thread.join().expect("looking does not panic");
        if resident > MEMORY || resident == 0 {
            findings.other.push(format!("{} MiB resident, {} allowed", resident >> 20, MEMORY >> 20));
        }
        resident
    }
}

/// Resident memory of a process, in bytes; nothing where it is gone.
fn resident(pid: u32) -> Option<u64> {
    let pages: u64 = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
