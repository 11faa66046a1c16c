//! What goes wrong, drawn from one seed, and what was found to be wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::life::Life;

/// How often things go wrong, in a thousand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    /// A component panics.
    pub panic: u32,
    /// A component asks to try again, or says that it is unusable, or its other side is gone.
    pub fail: u32,
    /// A write takes effect, but its answer is lost.
    pub lost: u32,
    /// A write, or its answer, takes long.
    pub slow: u32,
    /// Somebody else is let go first.
    pub restless: u32,
}

/// The troubles of a run. All draws come from one generator, in the order of events, so a seed repeats them.
pub struct Trouble {
    inner: Mutex<Inner>,
    life: Life,
}

struct Inner {
    random: StdRng,
    rates: Rates,
    down: BTreeSet<&'static str>,
    /// How often a record has failed a stage in this life.
    failed: BTreeMap<(String, u64), u32>,
    violations: Vec<String>,
    notes: Option<Vec<String>>,
}

impl Trouble {
    /// The troubles of a seed; none until rates are set.
    pub fn new(seed: u64) -> Self {
        let inner = Mutex::new(Inner {
            random: StdRng::seed_from_u64(seed),
            rates: Rates::default(),
            down: BTreeSet::new(),
            failed: BTreeMap::new(),
            violations: Vec::new(),
            notes: None,
        });
        Trouble { inner, life: Life::default() }
    }

    /// Another process life begins, of so many steps at most: what was down is up, and things go wrong at these rates.
    pub fn begin(&self, rates: Rates, steps: Option<u64>) {
        self.life.begin(steps);
        let mut inner = self.lock();
        inner.rates = rates;
        inner.down.clear();
        inner.failed.clear();
    }

    /// To be awaited before each effect on the world, and once more before its answer is given: the process may be
    /// killed here, or others may come first.
    pub async fn step(&self) {
        if self.chance(|r| r.restless) {
            for _ in 0..self.between(1, 3) {
                tokio::task::yield_now().await;
            }
        }
        self.life.step().await;
    }

    /// Waits until the process has used up its steps.
    pub async fn is_killed(&self) {
        self.life.over().await;
    }

    /// A number from the run's generator.
    pub fn between(&self, low: u64, high: u64) -> u64 {
        self.lock().random.random_range(low..=high)
    }

    fn chance(&self, rate: impl Fn(&Rates) -> u32) -> bool {
        let mut inner = self.lock();
        let rate = rate(&inner.rates);
        rate > 0 && inner.random.random_range(0..1000) < rate
    }

    /// Panics now and then.
    ///
    /// # Panics
    /// That is what it is for.
    pub fn maybe_panic(&self, place: &str) {
        if self.chance(|r| r.panic) {
            self.note(|| format!("{place} panics"));
            panic!("injected: {place}");
        }
    }

    /// Panics now and then, but never more than twice a life on the same record at the same place: it gets through.
    ///
    /// # Panics
    /// That is what it is for.
    pub fn maybe_panic_on(&self, place: &str, record: u64) {
        if self.chance(|r| r.panic) && self.count(place, record) <= 2 {
            self.note(|| format!("{place} panics on {record}"));
            panic!("injected: {place} on {record}");
        }
    }

    fn count(&self, place: &str, record: u64) -> u32 {
        let mut inner = self.lock();
        let failed = inner.failed.entry((place.to_owned(), record)).or_default();
        *failed += 1;
        *failed
    }

    /// Whether this try fails.
    pub fn fails(&self, place: &str) -> bool {
        let fails = self.chance(|r| r.fail);
        if fails {
            self.note(|| format!("{place} fails"));
        }
        fails
    }

    /// Whether the answer to a write is lost.
    pub fn loses_answer(&self, place: &str) -> bool {
        let lost = self.chance(|r| r.lost);
        if lost {
            self.note(|| format!("{place} loses an answer"));
        }
        lost
    }

    /// How long a write takes.
    pub fn delay(&self) -> Duration {
        let slow = self.chance(|r| r.slow);
        let millis = if slow { self.between(100, 2000) } else { self.between(0, 5) };
        Duration::from_millis(millis)
    }

    /// Something is gone, or back.
    pub fn set_down(&self, what: &'static str, down: bool) {
        self.note(|| format!("{what} is {}", if down { "down" } else { "up" }));
        let mut inner = self.lock();
        match down {
            true => inner.down.insert(what),
            false => inner.down.remove(what),
        };
    }

    /// Whether something is gone.
    pub fn is_down(&self, what: &str) -> bool {
        self.lock().down.contains(what)
    }

    /// A promise was seen broken.
    pub fn violation(&self, what: String) {
        self.note(|| format!("VIOLATION {what}"));
        self.lock().violations.push(what);
    }

    /// The promises seen broken.
    pub fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    /// Keeps a protocol of what happens from now on.
    pub fn take_notes(&self) {
        self.lock().notes = Some(Vec::new());
    }

    /// Something worth a line in the protocol.
    pub fn note(&self, what: impl FnOnce() -> String) {
        if let Some(notes) = &mut self.lock().notes {
            notes.push(what());
        }
    }

    /// The protocol.
    pub fn notes(&self) -> Vec<String> {
        self.lock().notes.clone().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
