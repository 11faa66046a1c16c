//! `mqtt_ingress` before Mosquitto, and before a scripted broker for what Mosquitto cannot be made to show.

mod acks;
mod backpressure;
mod bytes;
mod contract;
mod flow;
mod marks;
mod redelivery;
mod session;
