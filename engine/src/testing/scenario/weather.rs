//! What befalls the world around the process: outages, and stores that are rolled back.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::testing::world::World;

/// Outages and roll-backs for as long as the process lives.
pub(super) async fn weather(world: Arc<World>) {
    let calm = world.trouble.between(0, 2) == 0;
    loop {
        sleep(Duration::from_millis(world.trouble.between(100, 4000))).await;
        if calm {
            continue;
        }
        if world.trouble.between(0, 2) == 0 {
            world.take_copy();
        }
        if world.trouble.between(0, 3) == 0 {
            roll_back(&world);
            continue;
        }
        let what = ["state", "log", "table", "shaped", "history"][world.trouble.between(0, 4) as usize];
        world.trouble.set_down(what, true);
        sleep(Duration::from_millis(world.trouble.between(1, 3000))).await;
        world.trouble.set_down(what, false);
    }
}

/// Takes a store back to an earlier instant while it is in use. Not the table behind the keyed stage: what a checkpoint
/// covers is not made again.
fn roll_back(world: &World) {
    let trouble = &world.trouble;
    let tables = &world.tables;
    let back = |what: &str, least: usize, writes: usize| {
        let to = trouble.between(least.min(writes) as u64, writes as u64) as usize;
        trouble.note(|| format!("{what} is rolled back to write {to} of {writes}"));
        to
    };
    match trouble.between(0, 2) {
        0 => tables.state.roll_back(back("state", 0, tables.state.writes())),
        1 => tables.shaped.roll_back(back("shaped", 0, tables.shaped.writes())),
        _ => {
            let partition = trouble.between(0, world.log.partitions() as u64 - 1) as i32;
            world.state.roll_back(
                partition,
                back("a checkpoint", usize::from(world.forgets()), world.state.writes(partition)),
            );
        }
    }
}
