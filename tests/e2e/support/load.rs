//! Devices that publish for as long as a test does something else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use super::{Publisher, Site, Truth};

/// How a fleet publishes.
#[derive(Clone, Copy)]
pub struct Pace {
    /// How many devices take turns.
    pub devices: usize,
    /// Records a second, about.
    pub rate: usize,
    /// The size of a payload, at least.
    pub size: usize,
    /// Behind so many records comes one that is none.
    pub unfit_every: Option<usize>,
}

/// A fleet at work. It stops with its value, so that a test that fails comes to its end.
pub struct Load<'scope> {
    stop: &'scope AtomicBool,
    thread: Option<ScopedJoinHandle<'scope, Truth>>,
}

impl<'scope> Load<'scope> {
    /// Starts publishing.
    pub fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        stop: &'scope AtomicBool,
        site: &'scope Site,
        pace: Pace,
    ) -> Load<'scope> {
        let thread = scope.spawn(move || publish(site, pace, stop));
        Load { stop, thread: Some(thread) }
    }

    /// Stops, and waits until the broker has everything. What was published.
    pub fn stop(mut self) -> Truth {
        self.stop.store(true, Ordering::Release);
        self.thread.take().and_then(|thread| thread.join().ok()).expect("the fleet can publish")
    }
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

fn publish(site: &Site, pace: Pace, stop: &AtomicBool) -> Truth {
    const TICK: Duration = Duration::from_millis(10);
    let mut publisher = Publisher::connect(&site.mqtt);
    let mut truth = Truth::new();
    let each_tick = (pace.rate / 100).max(1);
    let mut turn = 0;
    while !stop.load(Ordering::Acquire) {
        for _ in 0..each_tick {
            let device = site.device(turn % pace.devices);
            let payload = truth.payload_of(&device, pace.size);
            publisher.send(&site.mqtt_topic(&device, "data"), payload);
            turn += 1;
            if pace.unfit_every.is_some_and(|every| turn % every == 0) {
                publisher.send(&site.mqtt_topic(&device, "data"), truth.unfit(&device));
            }
        }
        std::thread::park_timeout(TICK);
    }
    publisher.settled();
    truth
}
