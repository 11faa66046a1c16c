//! A seeded schedule of troubles for the whole pipeline, over several lives of its process.
//!
//! ```text
//! broker ─▶ ingress ─▶ clean ─▶ router ─▶ [data, marks] ─▶ source ─┬─▶ state (guarded)
//!                                                                  ├─▶ shape ─▶ shaped (guarded)
//!                                                                  └─▶ keyed ─┬─▶ history (guarded)
//!                                                                             └─▶ alerts (journal)
//! ```
//!
//! Every life but the last has troubles of its own: panics, failed, late and lost answers, slow writes, outages, stores
//! that are rolled back, records that are refused until what is wrong with them is mended, partitions that are given up
//! drained or not and come back, another instance that takes the topology over while this one goes on; it ends in a
//! crash, at a random instant or between any two effects that it has, or in a drain under load. The last one is healthy,
//! brings everything to its end, and then the world is checked.

mod life;
mod load;
mod topology;
mod weather;

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Duration;

use super::world::{Rates, World};
use super::{BASE, Sim, checker, quiet_panics};
use crate::registry::SessionLimits;

use load::Load;

/// What a failed run has to say.
#[derive(Debug)]
pub struct Failure {
    /// Replays it.
    pub seed: u64,
    /// The promises that were broken.
    pub violations: Vec<String>,
    /// What happened, if notes were taken.
    pub notes: Vec<String>,
}

/// Runs the scenario of a seed and checks what it leaves.
pub fn run(seed: u64, notes: bool) -> Result<(), Failure> {
    let world = play(seed, notes);
    let violations = world.trouble.violations();
    if violations.is_empty() { Ok(()) } else { Err(Failure { seed, violations, notes: world.trouble.notes() }) }
}

/// What happens in the run of a seed, line by line.
pub fn protocol(seed: u64) -> Vec<String> {
    play(seed, true).trouble.notes()
}

/// Plays a run. One that panics is a broken promise like any other, so that its seed is named and its notes are kept.
fn play(seed: u64, notes: bool) -> Arc<World> {
    quiet_panics();
    let world = World::new(seed, 2);
    if notes {
        world.trouble.take_notes();
    }
    if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(|| live(&world))) {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied());
        world.trouble.violation(format!("the run panicked: {}", text.unwrap_or("without a message")));
    }
    world
}

/// All lives of a world, and what is left of it in the end.
fn live(world: &Arc<World>) {
    bound_sessions(world);
    if world.trouble.between(0, 1) == 0 {
        world.let_mend();
    }
    let load = Load::new(world);
    let lives = world.trouble.between(1, 3);
    let mut base = BASE;
    for number in 0..=lives {
        let last = number == lives;
        let (rates, steps) = if last { (Rates::default(), None) } else { (rates(world), steps(world)) };
        if world.trouble.between(0, 3) == 0 {
            world.restore_copy();
        }
        world.trouble.begin(rates, steps);
        world.trouble.note(|| format!("life {number} begins at {base:?} with {rates:?}, {steps:?} steps"));
        let ended_at = Sim::run(base, async |sim| {
            match last {
                true => life::healthy(&sim, world, &load).await,
                false => life::troubled(&sim, world, &load).await,
            }
            sim.clock.now()
        });
        base = ended_at + Duration::from_millis(world.trouble.between(0, 8000));
    }
    checker::check(world);
}

/// Bounds the sessions in every other world; when they leave memory is another matter in each life.
fn bound_sessions(world: &World) {
    let trouble = &world.trouble;
    let max_sessions = trouble.between(1, 6) as usize;
    let forget_after = Duration::from_secs(trouble.between(2, 12));
    let forget_after = (trouble.between(0, 2) == 0).then_some(forget_after);
    if trouble.between(0, 1) == 0 {
        world.bound_sessions(SessionLimits { max_sessions, forget_after, ..SessionLimits::default() });
    }
}

fn rates(world: &World) -> Rates {
    let trouble = &world.trouble;
    let rate = |most: u64| if trouble.between(0, 1) == 0 { 0 } else { trouble.between(1, most) as u32 };
    Rates { panic: rate(40), fail: rate(80), lost: rate(80), slow: rate(150), restless: rate(500) }
}

/// How many steps a life has, if it does not end in another way before.
fn steps(world: &World) -> Option<u64> {
    let trouble = &world.trouble;
    let most = 1 << trouble.between(2, 11);
    let steps = trouble.between(1, most);
    (trouble.between(0, 1) == 0).then_some(steps)
}
