//! The embedded default: what Kafka, Redis and an MQTT broker do for a site, in this process and one data directory.

pub mod connection;
pub mod dead_letters;
pub mod disk;
pub mod endpoint;
pub(crate) mod log;
pub mod router;
pub mod source;
mod submit;

pub use connection::EmbeddedConnection;
