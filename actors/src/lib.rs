//! Telemill's components: one folder each, all registered in one list.

pub mod redis;
pub mod redis_state;
pub mod redis_writer;

use telemill_engine::registry::Registry;

/// Every kind of component and connection there is.
pub fn register_all(registry: &mut Registry) {
    registry.connection::<redis::RedisConnection>();
    registry.store::<redis_state::RedisState>();
    registry.sink::<redis_writer::RedisWriter>();
}
