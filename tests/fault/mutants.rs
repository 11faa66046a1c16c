//! The checker is checked: an engine that makes a mistake, and a fault that lets it show. Each is caught, and for what it
//! is.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::check::Findings;
use crate::faults::Scene;
use crate::load::Volley;
use crate::rig::{Link, Rig};
use crate::round::Rounds;
use crate::states::State;

/// Where nothing ends by itself: more than any recovery that was measured (`docs/reliability.md`).
const PATIENCE: Duration = Duration::from_secs(40);
const VOLLEY: Volley = Volley { devices: 20, messages: 2000, rate: 1000, unfit_every: 100 };

/// The findings of one round on an engine that makes a mistake. Before and behind it the engine makes none.
fn findings_of(mutant: &str, deed: impl FnOnce(&mut Scene<'_>)) -> Findings {
    findings(&mut rounds(), mutant, VOLLEY, deed)
}

/// The same where a fault could be at work as well: the same round goes well on an engine that makes no mistake.
fn findings_but_for_the_mutant(mutant: &str, volley: Volley, deed: impl Fn(&mut Scene<'_>)) -> Findings {
    let mut rounds = rounds();
    // An engine ends with the thread that started it, which was another test's.
    rounds.rig.engine.kill();
    rounds.rig.run();
    let outcome = rounds.round_of(volley, &mut StdRng::seed_from_u64(1), |scene| {
        deed(scene);
        format!("without {mutant}")
    });
    println!("{outcome}");
    assert!(outcome.findings.is_clean(), "{outcome}");
    findings(&mut rounds, mutant, volley, deed)
}

fn findings(rounds: &mut Rounds, mutant: &str, volley: Volley, deed: impl FnOnce(&mut Scene<'_>)) -> Findings {
    rounds.rig.engine.kill();
    rounds.rig.standing = vec![format!("mutant {mutant}")];
    rounds.rig.run();
    let outcome = rounds.round_of(volley, &mut StdRng::seed_from_u64(1), |scene| {
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

/// The rounds of all mutants: they are on one rig.
fn rounds() -> MutexGuard<'static, Rounds> {
    static ROUNDS: OnceLock<Mutex<Rounds>> = OnceLock::new();
    let begun = || {
        let mut rig = Rig::new("mutants");
        rig.run();
        let mut rounds = Rounds::new(rig, VOLLEY);
        rounds.patience = PATIENCE;
        Mutex::new(rounds)
    };
    ROUNDS.get_or_init(begun).lock().unwrap_or_else(PoisonError::into_inner)
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
fn forget_letters() {
    let found =
        findings_but_for_the_mutant("forget_letters", VOLLEY, |scene| drop(scene.poison_until(Some("sink.buried"))));
    assert!(!found.doubled.is_empty());
}

#[test]
fn forget_checkpoint() {
    let found = findings_of("forget_checkpoint", nothing).other;
    assert!(found.iter().any(|what| what.contains("the checkpoint stands at")), "{found:?}");
}

#[test]
fn leak_permit() {
    // More than a mailbox holds.
    let volley = Volley { messages: 6000, rate: 3000, ..VOLLEY };
    let found = findings_but_for_the_mutant("leak_permit", volley, nothing).other;
    assert!(found.iter().any(|what| what.contains("not drained")), "{found:?}");
}

#[test]
fn seek_to_commit() {
    let found = findings_but_for_the_mutant("seek_to_commit", VOLLEY, |scene| {
        scene.roll_back();
    });
    assert!(found.other.iter().any(|what| what.contains("not drained")) || !found.lost.is_empty(), "{found:?}");
}
