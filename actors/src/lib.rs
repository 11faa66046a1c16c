//! Telemill's components: one folder each, all registered in one list.

pub mod alert_evaluator;
pub mod codes;
pub mod device_session;
pub mod kafka;
pub mod kafka_dead_letters;
pub mod kafka_router;
pub mod kafka_source;
pub mod mqtt;
pub mod mqtt_commands;
pub mod mqtt_ingress;
pub mod redis;
pub mod redis_state;
pub mod redis_writer;

use telemill_engine::registry::Registry;

/// Every kind of component and connection there is: the only list.
pub fn register_all(registry: &mut Registry) {
    registry.connection::<kafka::connection::KafkaConnection>();
    registry.connection::<mqtt::MqttConnection>();
    registry.connection::<redis::RedisConnection>();
    registry.store::<redis_state::RedisState>();
    registry.source::<mqtt_ingress::MqttIngress>();
    registry.source::<kafka_source::KafkaSource>();
    registry.keyed::<device_session::DeviceSession>();
    registry.keyed::<alert_evaluator::AlertEvaluator>();
    registry.sink::<redis_writer::RedisWriter>();
    registry.sink::<kafka_router::KafkaRouter>();
    registry.command_sink::<mqtt_commands::MqttCommands>();
    registry.dead_letters::<kafka_dead_letters::KafkaDeadLetters>();
}
