//! Telemill's components: one folder each, all registered in one list.

use telemill_engine::registry::Registry;

pub mod kafka;

/// Adds every kind of component and connection.
pub fn register_all(registry: &mut Registry) {
    registry.connection::<kafka::connection::KafkaConnection>();
}
