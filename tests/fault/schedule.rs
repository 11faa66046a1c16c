//! Which faults, in which order.

use std::time::Instant;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::faults::{ALL, Fault};
use crate::load::Volley;
use crate::points::AT_FIRST;
use crate::report::{Orders, Sums};
use crate::rig::Rig;
use crate::round::Rounds;

#[test]
fn faults_break_no_promise() {
    let orders = Orders::read();
    let mut random = StdRng::seed_from_u64(orders.seed);
    let volley = Volley {
        devices: 20,
        messages: orders.messages,
        rate: (orders.messages / 2).clamp(1000, 3000),
        unfit_every: 100,
    };
    let classes: Vec<Fault> = ALL.into_iter().filter(|fault| orders.wants(&format!("{fault:?}"))).collect();
    if classes.is_empty() {
        return;
    }
    let mut rounds = Rounds::new(begun());
    let mut sums = Sums::default();
    let began = Instant::now();
    'all: loop {
        let mut faults = classes.clone();
        faults.shuffle(&mut random);
        for fault in faults {
            if orders.lasts.is_some_and(|lasts| began.elapsed() > lasts) {
                break 'all;
            }
            let outcome = rounds.round(fault, volley, &mut random);
            sums.add(&format!("{fault:?}"), &outcome);
        }
        if orders.lasts.is_none() {
            break;
        }
    }
    rounds.rig.engine.ledgers_balance();
    rounds.rig.engine.drain();
    let findings = sums.print(orders.seed);
    assert!(findings == 0, "{findings} findings; again with: tests/fault/run --seed {}", orders.seed);
}

/// A rig whose engine is ready, and has died before at every point that is only come to once.
fn begun() -> Rig {
    let mut rig = Rig::new("fault");
    for point in AT_FIRST {
        rig.start(&[format!("kill {point} 1")]);
        assert!(rig.engine.dies_at(point), "the engine did not come to {point}");
    }
    rig.run();
    rig
}
