//! The connectors against real brokers and stores, one module a component.

mod kafka_topics;
mod mqtt_commands;
mod mqtt_ingress;
mod mqtt_support;
