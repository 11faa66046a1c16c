//! What a topology may say of how a Kafka sink writes, and the checks that all of them share.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use telemill_engine::context::CheckContext;
use telemill_engine::topology::{ByteSize, HumanDuration};

use super::producer::Settings;

/// None: records come to the client in batches, and while some are on their way the stage gathers more. Waiting in the
/// client as well, partition by partition, doubled the time to the store at 2,000 records/s and saved no CPU time.
const LINGER: Duration = Duration::ZERO;
const MAX_LINGER: Duration = Duration::from_secs(1);
const BUFFER: u64 = 64 << 20;
const MIN_BUFFER: u64 = 1 << 20;
const MAX_BUFFER: u64 = 2 << 30;

/// How batches are compressed on the wire and in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip: small, slow.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4: the cheapest in CPU.
    Lz4,
}

impl Compression {
    fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
        }
    }
}

/// Checks how a sink writes; `None` when there was a problem.
pub(crate) fn check_settings(
    linger: Option<HumanDuration>,
    compression: Compression,
    buffer: Option<ByteSize>,
    cx: &mut CheckContext<'_>,
) -> Option<Settings> {
    let linger = linger.map_or(LINGER, Duration::from);
    let buffer = buffer.map_or(BUFFER, u64::from);
    let before = cx.problems.len();
    if linger > MAX_LINGER {
        let message = format!("a record would wait {linger:?} for others to join it");
        cx.problem("linger", "kafka::bad_linger", message, "1s at most; a few milliseconds are enough");
    }
    if !(MIN_BUFFER..=MAX_BUFFER).contains(&buffer) {
        let message = format!("a buffer of {buffer} bytes is not between 1 MiB and 2 GiB");
        cx.problem("buffer", "kafka::bad_buffer", message, "64MiB is the default");
    }
    (cx.problems.len() == before).then_some(Settings { linger, compression: compression.name(), buffer })
}
