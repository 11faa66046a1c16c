//! What must hold in every interleaving. Each function goes through all of them and panics in the first in which it does
//! not.

pub mod acks;
pub mod book;
pub mod mailboxes;

use loom::sync::Mutex;

use crate::ack::{AckListener, Outcome};

/// How often a thread may be interrupted where it would not have waited. Mistakes of this kind are known to need few of
/// these, and the number of interleavings grows with their power.
const INTERRUPTIONS: usize = 2;

fn in_every_interleaving(model: impl Fn() + Send + Sync + 'static) {
    let mut explorer = loom::model::Builder::new();
    explorer.preemption_bound = Some(INTERRUPTIONS);
    explorer.check(model);
}

/// What a listener has heard.
#[derive(Default)]
struct Heard(Mutex<Vec<(u64, Outcome)>>);

impl AckListener for Heard {
    fn resolved(&self, tag: u64, outcome: Outcome) {
        self.0.lock().expect("nobody panics with the lock").push((tag, outcome));
    }
}

impl Heard {
    /// In the order of the tags.
    fn all(&self) -> Vec<(u64, Outcome)> {
        let mut all = self.0.lock().expect("nobody panics with the lock").clone();
        all.sort_unstable();
        all
    }
}
