//! The pipeline goes through the table.

use crate::faults::ALL;
use crate::load::Volley;
use crate::options::{RunOptions, Side};
use crate::points::AT_FIRST;
use crate::rig::Rig;
use crate::round::Rounds;
use crate::schedule;

#[test]
fn faults_break_no_promise() {
    let options = RunOptions::read();
    let classes = options.classes(Side::Pipeline, &ALL);
    if classes.is_empty() {
        return;
    }
    let volley = Volley {
        devices: 20,
        messages: options.messages,
        rate: (options.messages / 2).clamp(1000, 3000),
        unfit_every: 100,
    };
    let mut rounds = Rounds::new(begun(), volley);
    let mut sums =
        schedule::run(&options, Side::Pipeline, &classes, |fault, random| rounds.round(fault, volley, random));
    sums.print(options.seed);
    rounds.rig.engine.ledgers_balance();
    rounds.rig.engine.drain();
    sums.are_clean();
}

/// A rig whose engine is ready, and has died before at every point that is only come to once.
fn begun() -> Rig {
    let mut rig = Rig::new("fault");
    for point in AT_FIRST {
        rig.start(&[format!("kill {point} 1")]);
        assert!(rig.engine.dies_at(point), "the engine did not die at {point}");
    }
    rig.run();
    rig
}
