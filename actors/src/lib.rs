//! Actors.

pub mod mqtt;
pub mod mqtt_commands;
pub mod mqtt_ingress;
