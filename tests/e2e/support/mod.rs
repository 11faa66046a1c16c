//! What the tests share: a site of their own on the services, the process under test, and clients that are not ours.

// Two test programs share it, and each uses a part.
#![allow(dead_code, unused_imports)]

mod device;
mod http;
mod load;
mod local;
mod local_record;
mod log;
mod mosquitto;
mod paho;
mod process;
mod publisher;
mod site;
mod slow_link;
mod small_disk;
mod store;
mod terminal;
mod truth;

use std::time::Duration;

pub use device::{Device, Fleet};
pub use http::Http;
pub use load::{Load, Pace};
pub use local::{Local, frames};
pub use local_record::{LocalRecord, Numbers, parts};
pub use log::{Committed, LogRecord, Reader};
pub use mosquitto::Mosquitto;
pub use paho::paho;
pub use process::Telemill;
pub use publisher::{Commands, Publisher};
pub use site::Site;
pub use slow_link::SlowLink;
pub use small_disk::SmallDisk;
pub use store::{Store, Updates};
pub use terminal::Terminal;
pub use truth::Truth;

/// The partition that Kafka's own clients put a key into.
pub fn partition_of(key: &str, partitions: i32) -> i32 {
    telemill_actors::log::murmur2::partition_of(key.as_bytes(), partitions)
}

/// Longer than anything takes on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(90);

/// Whether the long runs are wanted (`tests/run --nightly`).
pub fn nightly() -> bool {
    std::env::var_os("TELEMILL_NIGHTLY").is_some()
}

/// One of two sizes: what every change must pass, and what a night has time for.
pub fn by_night<T>(ci: T, night: T) -> T {
    if nightly() { night } else { ci }
}

/// Lets real time pass, where passing time is what is tested: an outage, a silence.
pub fn let_pass(time: Duration) {
    let end = std::time::Instant::now() + time;
    while let Some(left) = end.checked_duration_since(std::time::Instant::now()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}
