//! What all Kafka components share: the connection, its topics, and the form of a record on the wire.

pub mod client;
pub mod connection;
pub mod properties;
pub mod topics;
pub mod wire;
pub mod writer;

pub(crate) mod bootstrap;
pub(crate) mod handover;
pub(crate) mod headers;
pub(crate) mod ledger;
pub(crate) mod place;
pub(crate) mod producer;
mod raw_headers;
pub(crate) mod reader;
pub(crate) mod recall;
pub(crate) mod reports;
mod stall;
pub(crate) mod submit;
mod topic_description;
pub(crate) mod watermark;
