//! The checker is checked: an engine that makes a mistake, and a fault that lets it show. Each is caught, and for what it
//! is.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::check::Findings;
use crate::faults::{Fault, Scene};
use crate::load::Volley;
use crate::rig::{Link, Rig};
use crate::round::Rounds;
use crate::states::State;

/// More than a round takes to be drained on a busy machine.
const PATIENCE: Duration = Duration::from_secs(15);
const VOLLEY: Volley = Volley { devices: 20, messages: 2000, rate: 1000, unfit_every: 100 };

/// The findings of one round on an engine that makes a mistake. Before and behind it the engine makes none.
fn findings_of(mutant: &str, deed: impl FnOnce(&mut Scene<'_>)) -> Findings {
    findings(mutant, VOLLEY, deed)
}

fn findings(mutant: &str, volley: Volley, deed: impl FnOnce(&mut Scene<'_>)) -> Findings {
    static ROUNDS: OnceLock<Mutex<Rounds>> = OnceLock::new();
    let rounds = ROUNDS.get_or_init(|| Mutex::new(clean_rounds()));
    let mut rounds = rounds.lock().unwrap_or_else(PoisonError::into_inner);
    let mut random = StdRng::seed_from_u64(1);
    rounds.rig.engine.kill();
    rounds.rig.standing = vec![format!("mutant {mutant}")];
    rounds.rig.run();
    let outcome = rounds.round_of(volley, &mut random, |scene| {
        deed(scene);
        mutant.to_owned()
    });
    println!("{outcome}");
    rounds.rig.standing.clear();
    rounds.rig.engine.kill();
    rounds.rig.run();
    rounds.settle();
    outcome.findings
}

/// A rig on which one round went well, so that there are positions to compare with.
fn clean_rounds() -> Rounds {
    let mut rig = Rig::new("mutants");
    rig.run();
    let mut rounds = Rounds::new(rig);
    rounds.patience = PATIENCE;
    let outcome = rounds.round(Fault::Reset, VOLLEY, &mut StdRng::seed_from_u64(1));
    assert!(outcome.findings.is_clean(), "without a mutant: {outcome}");
    rounds
}

fn nothing(_: &mut Scene<'_>) {}

/// Nothing that the engine says on a link arrives any more; then it is killed.
fn hangs_and_dies(link: Link) -> impl FnOnce(&mut Scene<'_>) {
    move |scene| {
        let state = State::OneWay(link, true);
        state.impose(scene.rig);
        scene.pass(1000, 1000);
        // What was said and has not arrived never will.
        scene.rig.proxy(link).freeze();
        scene.kill();
        state.lift(scene.rig);
    }
}

#[test]
fn acknowledge_early() {
    assert!(!findings_of("acknowledge_early", hangs_and_dies(Link::Kafka)).lost.is_empty());
}

#[test]
fn commit_early() {
    let found = findings_of("commit_early", hangs_and_dies(Link::Redis)).other;
    assert!(found.iter().any(|what| what.contains("committed early")), "{found:?}");
}

#[test]
fn drop_one() {
    assert!(!findings_of("drop_one", nothing).lost.is_empty());
}

#[test]
fn swap_two() {
    assert!(!findings_of("swap_two", nothing).reordered.is_empty());
}

#[test]
fn apply_twice() {
    assert!(!findings_of("apply_twice", nothing).doubled.is_empty());
}

#[test]
fn skip_redelivery_check() {
    assert!(!findings_of("skip_redelivery_check", hangs_and_dies(Link::Mqtt)).doubled.is_empty());
}

#[test]
fn forget_checkpoint() {
    let found = findings_of("forget_checkpoint", nothing).other;
    assert!(found.iter().any(|what| what.contains("the checkpoint stands at")), "{found:?}");
}

#[test]
fn leak_permit() {
    // More than a mailbox holds.
    let found = findings("leak_permit", Volley { messages: 6000, rate: 3000, ..VOLLEY }, nothing).other;
    assert!(found.iter().any(|what| what.contains("not drained")), "{found:?}");
}

#[test]
fn seek_to_commit() {
    let found = findings_of("seek_to_commit", |scene| {
        scene.roll_back();
    });
    assert!(found.other.iter().any(|what| what.contains("not drained")) || !found.lost.is_empty(), "{found:?}");
}
