//! Time, handed in.
//!
//! Nothing in the engine reads the machine's clock: it asks a [`Clock`], so that a simulation can run a day in a
//! second and a test can move the wall clock by an hour. Waiting goes through `tokio::time`, which a paused runtime
//! advances together with the virtual clock.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A wall-clock instant: milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Whole seconds since the Unix epoch, the unit of the `timestamp` field on the wire.
    pub fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// Milliseconds since the Unix epoch.
    pub fn as_millis(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero when `earlier` is later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Timestamp;
    fn add(self, by: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(by.as_millis() as u64))
    }
}

impl std::ops::Sub<Duration> for Timestamp {
    type Output = Timestamp;
    fn sub(self, by: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(by.as_millis() as u64))
    }
}

/// An instant on a shard's own time line: milliseconds for which the shard's sources were proven alive.
///
/// It only moves with the marks in the log (`docs/formats.md`, "Time"), so an outage stops it and a replay repeats it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LogTime(pub u64);

impl LogTime {
    /// The time from `earlier` to `self`; zero when `earlier` is later.
    pub fn since(self, earlier: LogTime) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for LogTime {
    type Output = LogTime;
    fn add(self, by: Duration) -> LogTime {
        LogTime(self.0.saturating_add(by.as_millis() as u64))
    }
}

/// Where the engine reads the wall time.
pub trait TimeSource: Send + Sync + fmt::Debug {
    /// The wall time now.
    fn now(&self) -> Timestamp;
}

/// A shared handle to the injected time source.
#[derive(Clone, Debug)]
pub struct Clock(Arc<dyn TimeSource>);

impl Clock {
    /// A clock over any time source.
    pub fn new(source: impl TimeSource + 'static) -> Self {
        Clock(Arc::new(source))
    }

    /// The machine's clock.
    pub fn system() -> Self {
        Clock::new(SystemTimeSource)
    }

    /// The wall time now.
    pub fn now(&self) -> Timestamp {
        self.0.now()
    }
}

#[derive(Debug)]
struct SystemTimeSource;

impl TimeSource for SystemTimeSource {
    #[allow(clippy::disallowed_methods, reason = "the one place where the engine's wall clock comes from")]
    fn now(&self) -> Timestamp {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let now = since_epoch.as_millis() as u64;
        #[cfg(feature = "faults")]
        let now = now.saturating_add_signed(crate::faults::clock_offset_ms());
        Timestamp(now)
    }
}

/// A wall clock that follows `tokio::time`, so that it stands still, jumps and auto-advances with a paused runtime;
/// it can also be stepped by hand, as an operator or NTP would step a machine's clock.
#[derive(Clone, Debug)]
pub struct VirtualTime {
    base: Timestamp,
    start: tokio::time::Instant,
    stepped_ms: Arc<AtomicI64>,
}

impl VirtualTime {
    /// A virtual clock that reads `base` now. Must be called inside a tokio runtime.
    pub fn starting_at(base: Timestamp) -> Self {
        VirtualTime { base, start: tokio::time::Instant::now(), stepped_ms: Arc::default() }
    }

    /// Moves the wall time by `millis` (negative: backwards) without letting time pass.
    pub fn step(&self, millis: i64) {
        self.stepped_ms.fetch_add(millis, Ordering::Relaxed);
    }
}

impl TimeSource for VirtualTime {
    fn now(&self) -> Timestamp {
        let passed = self.start.elapsed().as_millis() as i64;
        Timestamp((self.base.0 as i64 + passed + self.stepped_ms.load(Ordering::Relaxed)).max(0) as u64)
    }
}
