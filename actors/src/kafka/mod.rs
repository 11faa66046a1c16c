//! What all Kafka components share: the connection, its topics, and the form of a record on the wire.

pub mod client;
pub mod connection;
pub mod headers;
pub mod mark;
pub mod properties;
pub mod topics;
pub mod wire;

mod raw_headers;
mod topic_description;
