//! The embedded default: what Kafka, Redis and an MQTT broker do for a site, in this process and one data directory.

pub mod connection;
pub mod disk;
pub mod state;
pub mod store;

pub use connection::{EmbeddedConnection, EmbeddedConnectionSpec};
