//! The whole of Telemill, as a user runs it: the binary, on real brokers, seen through clients that are not ours.

mod access;
mod alerts;
mod backpressure;
mod bad_input;
mod cli;
mod crash;
mod embedded_crash;
mod embedded_devices;
mod full_disk;
mod mistakes;
mod pipeline;
mod presence;
mod quickstart;
mod readiness;
mod retention;
mod shutdown;
mod supervision;
mod support;
mod terminal;
mod updates;
