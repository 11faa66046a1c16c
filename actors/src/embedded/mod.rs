//! The embedded default: what Kafka, Redis and an MQTT broker do for a site, in this process and one data directory.

pub(crate) mod codes;
pub mod connection;
pub mod dead_letters;
pub mod disk;
pub mod endpoint;
pub(crate) mod log;
mod prefixed;
pub mod router;
pub mod source;
pub mod state;
pub mod store;
mod submit;
mod tails;

pub use connection::{EmbeddedConnection, EmbeddedConnectionSpec};
