//! Telemill's components: one folder each, all registered in one list.

pub mod alert_evaluator;
pub mod codes;
pub mod device_session;
mod device_store;
pub mod embedded;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod ingress;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "kafka")]
pub mod kafka_dead_letters;
#[cfg(feature = "kafka")]
pub mod kafka_router;
#[cfg(feature = "kafka")]
pub mod kafka_source;
pub mod log;
pub mod mqtt;
pub mod mqtt_commands;
pub mod mqtt_ingress;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(feature = "redis")]
pub mod redis_state;
#[cfg(feature = "redis")]
pub mod redis_writer;

use telemill_engine::registry::Registry;

/// Every kind of component and connection there is: the only list.
///
/// Cargo features decide what comes with it: `kafka` and `redis` bring the connectors of those names, whose client
/// libraries are most of the build; what needs no service is always there.
pub fn register_all(registry: &mut Registry) {
    registry.keyed::<device_session::DeviceSession>();
    registry.keyed::<alert_evaluator::AlertEvaluator>();

    registry.connection::<mqtt::MqttConnection>();
    registry.source::<mqtt_ingress::MqttIngress>();
    registry.command_sink::<mqtt_commands::MqttCommands>();

    register_kafka(registry);
    register_redis(registry);

    registry.connection::<embedded::EmbeddedConnection>();
    registry.source::<embedded::endpoint::EmbeddedIngress>();
    registry.command_sink::<embedded::endpoint::EmbeddedCommands>();
    registry.source::<embedded::source::EmbeddedSource>();
    registry.sink::<embedded::router::EmbeddedRouter>();
    registry.dead_letters::<embedded::dead_letters::EmbeddedDeadLetters>();
    registry.sink::<embedded::store::EmbeddedWriter>();
    registry.store::<embedded::state::EmbeddedState>();
}

#[cfg(feature = "kafka")]
fn register_kafka(registry: &mut Registry) {
    registry.connection::<kafka::connection::KafkaConnection>();
    registry.source::<kafka_source::KafkaSource>();
    registry.sink::<kafka_router::KafkaRouter>();
    registry.dead_letters::<kafka_dead_letters::KafkaDeadLetters>();
}

#[cfg(not(feature = "kafka"))]
fn register_kafka(registry: &mut Registry) {
    registry.connections.leave_out("kafka", "kafka");
    registry.dead_letters.leave_out("kafka", "kafka");
}

#[cfg(feature = "redis")]
fn register_redis(registry: &mut Registry) {
    registry.connection::<redis::RedisConnection>();
    registry.sink::<redis_writer::RedisWriter>();
    registry.store::<redis_state::RedisState>();
}

#[cfg(not(feature = "redis"))]
fn register_redis(registry: &mut Registry) {
    registry.connections.leave_out("redis", "redis");
    registry.stores.leave_out("redis", "redis");
}
