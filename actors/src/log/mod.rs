//! What every log has in common, whichever keeps it: the form of a record in it, and the pure parts of reading it.
//!
//! Nothing here knows a client library. What stands in the log is fixed in `docs/formats.md`.

pub mod mark;
pub mod message;
pub mod murmur2;
pub mod resume;
pub mod route;
pub mod spec;

pub(crate) mod begin;
pub(crate) mod command;
pub(crate) mod cursor;
pub(crate) mod form;
pub(crate) mod headers;
pub(crate) mod ledger;
pub(crate) mod merge;
pub(crate) mod outbox;
pub(crate) mod reading;
pub(crate) mod tail;
