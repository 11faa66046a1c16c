//! The whole pipeline under a seeded schedule of troubles.
//!
//! `TELEMILL_SEED=n cargo test -p telemill-engine simulation_seeds` replays one run, and prints what happened in it
//! if it fails; `TELEMILL_SEEDS=from..to` runs another range.

use std::env;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use telemill_engine::testing::scenario;

fn range() -> std::ops::Range<u64> {
    let Ok(text) = env::var("TELEMILL_SEEDS") else {
        return if env::var_os("TELEMILL_NIGHTLY").is_some() { 0..20_000 } else { 0..2000 };
    };
    let parsed = text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    parsed.expect("TELEMILL_SEEDS is from..to")
}

#[test]
fn simulation_seeds() {
    if let Ok(seed) = env::var("TELEMILL_SEED") {
        let seed = seed.parse().expect("TELEMILL_SEED is a number");
        if let Err(failure) = scenario::run(seed, true) {
            eprintln!("{}\n\n{}", failure.notes.join("\n"), failure.violations.join("\n"));
            panic!("seed {seed} failed");
        }
        return;
    }
    let seeds = range();
    let next = AtomicU64::new(seeds.start);
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let mut failures = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return failures;
            }
            failures.extend(scenario::run(seed, false).err());
        }
    };
    let failures: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        running.into_iter().flat_map(|worker| worker.join().expect("a run that panics is a failure")).collect()
    });
    for failure in failures.iter().take(5) {
        eprintln!("TELEMILL_SEED={}\n{}\n", failure.seed, failure.violations.join("\n"));
    }
    let seeds: Vec<_> = failures.iter().map(|f| f.seed).collect();
    assert!(failures.is_empty(), "{} seeds failed: {seeds:?}", failures.len());
}

#[test]
fn every_trouble_comes_up() {
    let mut missing = vec![
        "crash, at a step",
        "another instance takes over",
        "was superseded by",
        "heard: false",
        "confirmer loses an answer",
        "source has lost",
        "source gives 0 up",
        "commit loses an answer",
        "save loses an answer",
        "a checkpoint is rolled back",
        "state is rolled back",
        "shaped is rolled back",
        "are restored from copy",
        ": Gap",
        "drain",
    ];
    for seed in 0..400 {
        let lines = scenario::protocol(seed);
        missing.retain(|word| !lines.iter().any(|line| line.contains(word)));
        if missing.is_empty() {
            return;
        }
    }
    panic!("never seen: {missing:?}");
}

#[test]
fn a_seed_replays_exactly() {
    for seed in 0..30 {
        let (first, again) = (scenario::protocol(seed), scenario::protocol(seed));
        let differs = first.iter().zip(&again).find(|(a, b)| a != b);
        assert!(first.len() > 20 && first.len() == again.len() && differs.is_none(), "seed {seed}: {differs:?}");
    }
}
