//! The connectors against real brokers and stores, one module a component.

mod kafka_topics;
