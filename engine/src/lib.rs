//! Telemill's engine: everything that is the same for every connector.
//!
//! The problems it solves, each in a module of its own:
//!
//! - what a record is and how it reaches disk and wire: [`record`], [`envelope`], [`position`], [`device_id`]
//! - acknowledgements that cannot be forgotten: [`ack`]
//! - the contracts of components: [`stage`], [`source`], [`sink`], [`keyed`], and what they are given: [`context`]
//! - what they are waiting for: [`peers`]
//! - bounded mailboxes, supervised stage actors, shards and sessions: [`runtime`]
//! - what survives a restart: [`checkpoint`]
//! - the topology language, parse → check → plan: [`topology`]
//!
//! The engine knows no connector: no MQTT, Kafka or Redis library is among its dependencies.

#![forbid(unsafe_code)]

pub mod ack;
pub mod batch;
pub mod checkpoint;
pub mod clock;
pub mod codes;
pub mod context;
pub mod control;
pub mod device_id;
pub mod envelope;
pub mod erased;
pub mod faults;
#[cfg(any(test, fuzzing, feature = "testing"))]
pub mod fuzzing;
pub mod keyed;
pub mod metrics;
pub mod peers;
pub mod ports;
pub mod position;
pub mod record;
pub mod registry;
pub mod retry;
pub mod runtime;
pub mod sink;
pub mod source;
pub mod stage;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod topology;
