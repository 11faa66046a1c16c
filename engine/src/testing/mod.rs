//! What tests of the engine and of components need: the engine in virtual time, a simulated world, and fakes.
//!
//! - [`Sim`] runs the real engine on one thread, on a clock that jumps from one event to the next.
//! - [`PlanBuilder`] wires stages by name, without a topology file.
//! - [`fakes`] are components with one behaviour each, for tests that look at one thing.
//! - [`world`] is what survives a process in a simulation: log, stores, broker. [`scenario`] sends a seeded schedule of
//!   troubles through it and [`checker`] looks for loss, order and single effect at the end.
//!
//! Nothing here reads the machine's clock or a random state: one seed, one course of events.

pub mod checker;
mod codes;
pub mod fakes;
mod model;
mod plan;
pub mod scenario;
mod sim;
pub mod world;

use bytes::Bytes;
use ulid::Ulid;

use crate::clock::Timestamp;
use crate::record::{EventId, Kind, Record};

pub use codes::{Codes, codes_of};
pub use plan::{PlanBuilder, keyed, make, processor, sink, source};
pub use sim::{BASE, Sim, quiet_panics};

/// The `number`-th data record of a device, as a fresh ingress would give it.
pub fn record(device: &str, number: usize) -> Record {
    let id = EventId(Ulid::from_parts(1_700_000_000_000 + number as u64, number as u128));
    let device = device.parse().expect("tests use valid device ids");
    let payload = Bytes::from(format!(r#"{{"n":{number}}}"#));
    Record::new(id, device, Kind::Data, payload, Timestamp(1_700_000_000_000 + number as u64))
}

/// The number in the payload of a record that [`record`] or the simulated world made.
pub fn number_of(record: &Record) -> u64 {
    let digits = record.payload.iter().skip_while(|b| !b.is_ascii_digit()).take_while(|b| b.is_ascii_digit());
    digits.fold(0, |n, digit| n * 10 + u64::from(digit - b'0'))
}
