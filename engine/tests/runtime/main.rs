//! The running engine, on fakes and in virtual time.
#![allow(clippy::unwrap_used, reason = "a test may fail by it")]
#![allow(clippy::disallowed_macros, reason = "a failed seed is printed")]

mod alert_log;
mod backpressure;
mod common;
mod drain;
mod forget;
mod forms;
mod gap;
mod given_up;
mod outage;
mod poison;
mod shard;
mod simulation;
mod start;
mod supervision;
