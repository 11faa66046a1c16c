//! The state store's contract: one owner at a time, nothing by a superseded one, and what was saved is what is loaded.

mod checkpoints;
mod claims;
mod slots;

use std::time::Duration;

use telemill_actors::redis_state::RedisState;

use crate::redis_support::{DEADLINE, connection};

fn store(url: &str) -> RedisState {
    RedisState::new(connection(url, DEADLINE))
}

fn store_with_lease(url: &str, lease: Duration) -> RedisState {
    store(url).with_lease(lease)
}
