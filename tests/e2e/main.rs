//! The whole of Telemill, as a user runs it: the binary, on real brokers, seen through clients that are not ours.

mod pipeline;
mod support;
