//! What a topology file may be at most. Anything beyond is a located problem, found before memory or time is spent.

/// The largest text, in bytes.
pub const MAX_TEXT_BYTES: usize = 4 << 20;

/// How deep lists and mappings may be nested, aliases followed.
pub const MAX_DEPTH: usize = 64;

/// The largest number of values, aliases followed.
pub const MAX_NODES: usize = 100_000;

/// How many bytes of strings aliases may repeat, and how many the environment may put in.
pub const MAX_EXPANDED_BYTES: usize = 4 << 20;

/// The largest number of problems reported at once. The rest are counted.
pub const MAX_PROBLEMS: usize = 250;
