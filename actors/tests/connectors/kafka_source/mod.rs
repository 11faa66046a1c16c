//! The source against a real Kafka, driven as the engine drives it.

mod assignment;
mod commits;
mod driven;
mod endurance;
mod fixture;
mod order;
mod positions;
mod watchdogs;
