//! The running engine, on fakes and in virtual time.

mod backpressure;
mod common;
mod drain;
mod gap;
mod outage;
mod poison;
mod shard;
mod simulation;
mod start;
mod supervision;
