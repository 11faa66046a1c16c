//! The checker is checked: an engine that makes a mistake, and a fault that lets it show. Each is caught, and for what it
//! is.

use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::check::Findings;
use crate::faults::Fault;
use crate::load::Volley;
use crate::rig::Rig;
use crate::round::Rounds;

/// Runs rounds of a fault on an engine that makes a mistake until something is found.
fn findings(mutant: &str, faults: &[Fault]) -> Findings {
    let mut rig = Rig::new(&mutant.replace('_', "-"));
    rig.run();
    rig.kill();
    rig.stand(&format!("mutant {mutant}"));
    rig.run();
    let mut rounds = Rounds::new(rig);
    let mut random = StdRng::seed_from_u64(1);
    let volley = Volley { devices: 20, messages: 2000, rate: 1000, unfit_every: 100 };
    for fault in faults {
        let outcome = rounds.round(*fault, volley, &mut random);
        println!("{outcome}");
        if !outcome.findings.is_clean() {
            return outcome.findings;
        }
    }
    panic!("the mutant {mutant} was not caught");
}
