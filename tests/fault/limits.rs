//! What both sides are held to.

use std::time::Duration;

/// The largest payload that is a record, in bytes (`docs/formats.md`).
pub const MAX_PAYLOAD: usize = 256 << 10;
/// The most resident memory of the engine: mailboxes, read-ahead and queues as the topology bounds them, twice over.
pub const MEMORY: u64 = 512 << 20;
/// How long a point may take to be come to.
pub const COMES_TO_IT: Duration = Duration::from_secs(30);
/// Far beyond what is promised of it (`docs/reliability.md` has the times that were measured).
pub const DRAINED_WITHIN: Duration = Duration::from_secs(120);
