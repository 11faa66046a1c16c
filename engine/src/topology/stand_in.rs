//! Stand-in until the document layer is merged.
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A node.
pub struct Node;
/// Problems.
pub struct Problems;

/// Decodes.
pub fn decode<T: DeserializeOwned>(_: &Node, _: &mut Problems) -> Option<T> {
    None
}

/// A duration such as `60s`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
pub struct HumanDuration(u64);
impl From<HumanDuration> for Duration {
    fn from(d: HumanDuration) -> Duration {
        Duration::from_secs(d.0)
    }
}
impl From<Duration> for HumanDuration {
    fn from(d: Duration) -> HumanDuration {
        HumanDuration(d.as_secs())
    }
}

/// A size such as `256KiB`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
pub struct ByteSize(u64);
impl From<ByteSize> for u64 {
    fn from(b: ByteSize) -> u64 {
        b.0
    }
}
impl From<u64> for ByteSize {
    fn from(b: u64) -> ByteSize {
        ByteSize(b)
    }
}
