//! Telemill's components: one folder each, all registered in one list.

pub mod alert_evaluator;
pub mod codes;
pub mod device_session;
mod device_store;
pub mod embedded;
mod ingress;
pub mod kafka;
pub mod kafka_dead_letters;
pub mod kafka_router;
pub mod kafka_source;
pub mod log;
pub mod mqtt;
pub mod mqtt_commands;
pub mod mqtt_ingress;
pub mod redis;
pub mod redis_state;
pub mod redis_writer;

use telemill_engine::registry::Registry;

/// Every kind of component and connection there is: the only list.
pub fn register_all(registry: &mut Registry) {
    registry.keyed::<device_session::DeviceSession>();
    registry.keyed::<alert_evaluator::AlertEvaluator>();

    registry.connection::<mqtt::MqttConnection>();
    registry.source::<mqtt_ingress::MqttIngress>();
    registry.command_sink::<mqtt_commands::MqttCommands>();

    registry.connection::<kafka::connection::KafkaConnection>();
    registry.source::<kafka_source::KafkaSource>();
    registry.sink::<kafka_router::KafkaRouter>();
    registry.dead_letters::<kafka_dead_letters::KafkaDeadLetters>();

    registry.connection::<redis::RedisConnection>();
    registry.sink::<redis_writer::RedisWriter>();
    registry.store::<redis_state::RedisState>();

    registry.connection::<embedded::EmbeddedConnection>();
    registry.source::<embedded::endpoint::EmbeddedIngress>();
    registry.command_sink::<embedded::endpoint::EmbeddedCommands>();
    registry.source::<embedded::source::EmbeddedSource>();
    registry.sink::<embedded::router::EmbeddedRouter>();
    registry.dead_letters::<embedded::dead_letters::EmbeddedDeadLetters>();
    registry.sink::<embedded::store::EmbeddedWriter>();
    registry.store::<embedded::state::EmbeddedState>();
}
