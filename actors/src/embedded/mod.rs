//! The embedded default: what Kafka, Redis and an MQTT broker do for a site, in this process and one data directory.

pub mod connection;
pub mod disk;

pub use connection::EmbeddedConnection;
