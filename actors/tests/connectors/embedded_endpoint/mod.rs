//! The embedded MQTT endpoint, by clients that are not ours and by bytes that no client would send.

mod access;
mod clients;
mod contract;
mod fixture;
mod hostile;
mod load;
mod program;
mod sessions;
