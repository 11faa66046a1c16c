//! Actors.

pub mod device_session;
