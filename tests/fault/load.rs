//! What the devices of a round publish: every message carries its device, its number and a uuid.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use telemill_services::wait_until;
use uuid::Uuid;

use crate::support::{DEADLINE, Publisher, Site};

/// How much a round publishes.
#[derive(Clone, Copy, Debug)]
pub struct Volley {
    pub devices: usize,
    pub messages: usize,
    /// Messages a second.
    pub rate: usize,
    /// Behind so many messages comes one that is none.
    pub unfit_every: usize,
}

/// A message as it was published.
#[derive(Clone, Debug)]
pub struct Message {
    pub seq: u64,
    pub uuid: String,
    /// Above the rule's threshold.
    pub is_hot: bool,
}

/// Whether a device's message of this number is above the rule's threshold.
pub fn is_hot(seq: u64) -> bool {
    seq / 10 % 2 == 1
}

/// What it measures.
pub fn temperature(seq: u64) -> f64 {
    if is_hot(seq) { 85.5 } else { 20.25 }
}

/// Everything that a round published.
#[derive(Debug, Default)]
pub struct Sent {
    pub fit: BTreeMap<String, Vec<Message>>,
    /// The uuids of what is no JSON.
    pub unfit: Vec<String>,
}

impl Sent {
    /// How many messages the log is to have.
    pub fn count(&self) -> usize {
        self.fit.values().map(Vec::len).sum()
    }
}

/// Devices at work.
pub struct Load {
    pause: Arc<Pause>,
    thread: JoinHandle<Sent>,
}

#[derive(Debug, Default)]
struct Pause {
    is_wanted: AtomicBool,
    /// The broker has taken everything, and nothing more is published.
    is_on: AtomicBool,
}

impl Load {
    /// Starts publishing at the broker itself, not through a proxy: what it has taken is its own. The devices are named
    /// after the round.
    pub fn start(site: &Site, broker: &str, round: usize, volley: Volley) -> Load {
        let pause = Arc::<Pause>::default();
        let (paused, broker) = (pause.clone(), broker.to_owned());
        let devices: Vec<(String, String)> = (0..volley.devices)
            .map(|number| {
                let device = device(site, round, number);
                let topic = site.mqtt_topic(&device, "data");
                (device, topic)
            })
            .collect();
        let thread = thread::spawn(move || publish(&broker, &devices, volley, &paused));
        Load { pause, thread }
    }

    /// Returns when nothing is published any more and the broker has taken what was. While it is restarted nothing may
    /// be on its way to it: it would be published again, and two messages with one uuid are a device's mistake, not
    /// ours; or the devices' client would lose it.
    pub fn pause(&self) {
        self.pause.is_wanted.store(true, Ordering::Release);
        let paused = || self.pause.is_on.load(Ordering::Acquire) || self.thread.is_finished();
        wait_until(DEADLINE, "the devices to pause", || paused().then_some(()));
    }

    pub fn go_on(&self) {
        self.pause.is_wanted.store(false, Ordering::Release);
    }

    /// Waits until everything is published, and the broker has it.
    pub fn end(self) -> Sent {
        self.go_on();
        self.thread.join().expect("the devices can publish")
    }
}

/// What all devices of a round begin with.
pub fn prefix(site: &Site, round: usize) -> String {
    format!("{}-r{round}-", site.prefix())
}

fn device(site: &Site, round: usize, number: usize) -> String {
    format!("{}{number}", prefix(site, round))
}

fn publish(broker: &str, devices: &[(String, String)], volley: Volley, pause: &Pause) -> Sent {
    const TICK: Duration = Duration::from_millis(10);
    let mut publisher = Publisher::connect(broker);
    let mut sent = Sent::default();
    let each_tick = (volley.rate / 100).max(1);
    let mut next = 0;
    while next < volley.messages {
        if pause.is_wanted.load(Ordering::Acquire) {
            publisher.settled();
            pause.is_on.store(true, Ordering::Release);
            while pause.is_wanted.load(Ordering::Acquire) {
                thread::park_timeout(TICK);
            }
            pause.is_on.store(false, Ordering::Release);
        }
        let began = Instant::now();
        for _ in 0..each_tick.min(volley.messages - next) {
            // A few of one device behind each other, so that two that change places are of one device.
            let (device, topic) = &devices[next / 3 % devices.len()];
            let messages = sent.fit.entry(device.clone()).or_default();
            let seq = messages.len() as u64 + 1;
            let message = Message { seq, uuid: Uuid::new_v4().to_string(), is_hot: is_hot(seq) };
            let temperature = temperature(seq);
            let uuid = &message.uuid;
            publisher.send(topic, format!(r#"{{"seq":{seq},"uuid":"{uuid}","temperature":{temperature}}}"#));
            messages.push(message);
            next += 1;
            if next.is_multiple_of(volley.unfit_every) {
                let uuid = Uuid::new_v4().to_string();
                publisher.send(topic, format!(r#"{{"seq":{seq},"uuid":"{uuid}","temperature":"#));
                sent.unfit.push(uuid);
            }
        }
        thread::park_timeout(TICK.saturating_sub(began.elapsed()));
    }
    publisher.settled();
    sent
}
