//! The engine of a rig or a nest: it takes orders (`telemill_engine::faults`), dies of them, and is started anew. What it
//! says of them is what tells that a fault took place.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::limits::COMES_TO_IT;
use crate::support::{Telemill, let_pass};

/// See the module.
#[derive(Default)]
pub struct Engine {
    running: Option<Telemill>,
    /// The process id of the one that was started last.
    pub pid: Arc<AtomicU32>,
    /// Orders that an engine did not understand.
    not_understood: Vec<String>,
}

impl Engine {
    /// Takes an engine that was started, in place of the one before.
    pub fn takes(&mut self, started: Telemill) {
        self.let_go();
        self.pid.store(started.pid(), Ordering::Relaxed);
        self.running = Some(started);
    }

    /// Waits until the engine is ready.
    pub fn until_ready(&mut self) {
        assert!(self.listens(), "the engine ended before it listened");
        self.deref_mut().until_ready();
    }

    /// Kills the engine (SIGKILL).
    pub fn kill(&mut self) {
        self.let_go().into_iter().for_each(Telemill::kill9);
    }

    /// Drains the engine; its exit code is 0.
    pub fn drain(&mut self) {
        self.let_go().into_iter().for_each(Telemill::drain);
    }

    /// Waits until the engine, which has the order, has died at a point; false when it does not, and then it is killed.
    pub fn dies_at(&mut self, point: &str) -> bool {
        let died = self.ends_within(COMES_TO_IT) && self.says(&format!("killed at {point}"));
        self.kill();
        died
    }

    /// Waits until the engine, which has the order, has panicked at a point; false when it does not.
    pub fn panics_at(&self, point: &str) -> bool {
        self.says(&format!("panics at {point}"))
    }

    /// The orders that were not understood since this was asked last: of each nothing came.
    pub fn not_understood(&mut self) -> Vec<String> {
        self.note_not_understood();
        std::mem::take(&mut self.not_understood)
    }

    /// Waits until the engine says this of an order.
    fn says(&self, what: &str) -> bool {
        let end = Instant::now() + COMES_TO_IT;
        while !said(self).any(|said| said == what) {
            if Instant::now() > end {
                return false;
            }
            let_pass(Duration::from_millis(50));
        }
        true
    }

    fn let_go(&mut self) -> Option<Telemill> {
        self.note_not_understood();
        self.running.take()
    }

    fn note_not_understood(&mut self) {
        let refused = self.running.iter().flat_map(said).filter(|said| said.starts_with("not understood"));
        self.not_understood.extend(refused);
    }
}

impl Deref for Engine {
    type Target = Telemill;

    fn deref(&self) -> &Telemill {
        self.running.as_ref().expect("it was started")
    }
}

impl DerefMut for Engine {
    fn deref_mut(&mut self) -> &mut Telemill {
        self.running.as_mut().expect("it was started")
    }
}

/// What an engine has said of its orders.
fn said(engine: &Telemill) -> impl Iterator<Item = String> {
    engine.logged("fault").into_iter().map(|entry| entry["what"].as_str().unwrap_or_default().to_owned())
}
