//! The connectors against real brokers and stores, one module a component.

#![allow(clippy::unwrap_used, reason = "whatever is missing in a test is a failure of it")]

mod conformance;
mod embedded;
mod embedded_endpoint;
mod embedded_log;
mod kafka_dead_letters;
mod kafka_router;
mod kafka_source;
mod kafka_support;
mod kafka_topics;
mod kafka_wire;
mod log_contract;
mod mqtt_commands;
mod mqtt_ingress;
mod mqtt_support;
mod redis_state;
mod redis_support;
mod redis_writer;
