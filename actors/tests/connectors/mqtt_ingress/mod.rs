//! `mqtt_ingress` before Mosquitto, and before a scripted broker for what Mosquitto cannot be made to show.

#![allow(clippy::unwrap_used, reason = "these are tests: what goes wrong here is a failed test")]

mod acks;
mod backpressure;
mod flow;
mod marks;
mod redelivery;
mod rejections;
mod session;
