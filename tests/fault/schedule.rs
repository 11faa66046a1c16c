//! Which faults, in which order: as the seed draws them, round by round, so that each round can be done again alone.

use std::fmt::Debug;
use std::time::Instant;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::options::{RunOptions, Side};
use crate::report::Sums;
use crate::round::Outcome;

/// Does rounds of these classes until the options say that it is enough. Each gets draws of its own.
pub fn run<F: Copy + Debug>(
    options: &RunOptions,
    side: Side,
    classes: &[F],
    mut round: impl FnMut(F, &mut StdRng) -> Outcome,
) -> Sums {
    let mut sums = Sums::default();
    let began = Instant::now();
    let all = classes.len() as u64;
    let (first, last) = match (options.round, options.lasts) {
        (Some(only), _) => (only, only),
        (None, None) => (1, all),
        (None, Some(_)) => (1, u64::MAX),
    };
    for number in first..=last {
        if options.lasts.is_some_and(|lasts| began.elapsed() > lasts) {
            break;
        }
        let class = order(classes, options.seed, (number - 1) / all)[((number - 1) % all) as usize];
        let replay = Replay(options.replay(side, number));
        println!("round {number} of {side}, seed {}: {class:?}", options.seed);
        let outcome = round(class, &mut draws(options.seed, Draw::Round, number));
        sums.add(&format!("{class:?}"), &outcome);
        if !outcome.findings.is_clean() {
            println!("  again with: {}", replay.0);
        }
    }
    sums
}

/// All classes in the order in which a pass does them.
fn order<F: Copy>(classes: &[F], seed: u64, pass: u64) -> Vec<F> {
    let mut classes = classes.to_vec();
    classes.shuffle(&mut draws(seed, Draw::Order, pass));
    classes
}

/// What is drawn.
#[derive(Clone, Copy)]
enum Draw {
    Order,
    Round,
}

/// The same for the same seed and number, and others for all others.
fn draws(seed: u64, of: Draw, number: u64) -> StdRng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&number.to_le_bytes());
    bytes[16] = of as u8;
    StdRng::from_seed(bytes)
}

/// Says how a round that panics is done again.
struct Replay(String);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("  again with: {}", self.0);
        }
    }
}
