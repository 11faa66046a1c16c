//! The state store in Redis: the contract, and the exact keys.

mod checkpoints;
mod claims;
mod outage;
mod slots;

use telemill_actors::redis_state::RedisState;

use crate::conformance::state::state_suite;
use crate::redis_support::{DEADLINE, RedisHarness, connection};

state_suite!(RedisHarness);

fn store(url: &str) -> RedisState {
    RedisState::new(connection(url, DEADLINE))
}
