//! What tests of the engine and of components need.

use bytes::Bytes;
use ulid::Ulid;

use crate::clock::Timestamp;
use crate::record::{EventId, Kind, Record};

/// The `number`-th data record of a device, as a fresh ingress would give it.
pub fn record(device: &str, number: usize) -> Record {
    let id = EventId(Ulid::from_parts(1_700_000_000_000 + number as u64, number as u128));
    let device = device.parse().expect("tests use valid device ids");
    let payload = Bytes::from(format!(r#"{{"n":{number}}}"#));
    Record::new(id, device, Kind::Data, payload, Timestamp(1_700_000_000_000 + number as u64))
}
