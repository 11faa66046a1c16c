//! The CPU time of the calling thread.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A reading of the thread's clock.
#[derive(Clone, Copy)]
pub struct CpuTime(Duration);

impl CpuTime {
    /// What the thread has used so far.
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        CpuTime(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
    }

    /// What it has used since.
    pub fn elapsed(self) -> Duration {
        CpuTime::now().0 - self.0
    }
}
