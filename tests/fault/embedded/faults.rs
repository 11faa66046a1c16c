//! What is done to the embedded default.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rumqttc::{Client, MqttOptions};
use telemill_services::{unique_name, wait_until};

use super::nest::Nest;
use crate::limits::MAX_PAYLOAD;
use crate::points::embedded::{AT_START, AT_WORK, PANICS};
use crate::proxy::Condition;
use crate::support::{DEADLINE, Publisher, let_pass};

/// A class of faults; the names are those of `crate::faults` where they are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    KilledAtWork,
    KilledAtStart,
    Killed,
    Frozen,
    Latency,
    Reset,
    HalfOpen,
    OneWay,
    /// Messages as large as may be, a byte larger, and some that are no JSON.
    Unfit,
    /// Somebody connects with a device's client id.
    TakenOver,
    Clock,
    Panic,
    /// The disk of the data directory is full for a while.
    FullDisk,
    Two,
}

use Fault::{
    Clock, Frozen, FullDisk, HalfOpen, Killed, KilledAtStart, KilledAtWork, Latency, OneWay, Panic, Reset, TakenOver,
    Two, Unfit,
};

pub const ALL: [Fault; 14] = [
    KilledAtWork,
    KilledAtStart,
    Killed,
    Frozen,
    Latency,
    Reset,
    HalfOpen,
    OneWay,
    Unfit,
    TakenOver,
    Clock,
    Panic,
    FullDisk,
    Two,
];

/// Why what a device of an [`Unfit`] round sends is dead, sorted.
pub const UNFIT: [&str; 2] = ["not_json", "too_large"];

/// What a fault has to work with.
pub struct Scene<'s> {
    pub nest: &'s mut Nest,
    pub random: &'s mut StdRng,
    /// The id of one of the devices.
    pub device: String,
    /// The devices that have sent what is no record; the reasons are [`UNFIT`].
    pub unfit: Vec<String>,
    /// What was wrong with the fault itself.
    pub wrong: Vec<String>,
}

impl Scene<'_> {
    /// Does it, and undoes it; what exactly was done.
    pub fn inflict(&mut self, fault: Fault) -> String {
        match fault {
            KilledAtWork => {
                let point = self.arm();
                self.dies_at(point)
            }
            KilledAtStart => {
                let point = *AT_START.choose(self.random).expect("there are points");
                self.nest.engine.kill();
                self.nest.start(&[format!("kill {point} 1")]);
                self.dies_at(point)
            }
            Killed => {
                let times = self.random.random_range(1..4);
                for _ in 0..times {
                    self.pass(0, 800);
                    self.kill();
                }
                format!("{times} times")
            }
            Frozen => {
                self.nest.engine.stop();
                self.pass(500, 4000);
                self.nest.engine.cont();
                "stopped for a while".to_owned()
            }
            Latency => {
                let latency = Duration::from_millis(self.random.random_range(20..300));
                self.link(Condition { latency, ..Condition::default() })
            }
            OneWay => {
                let up = self.random.random_bool(0.5);
                self.link(Condition { up_hangs: up, down_hangs: !up, ..Condition::default() })
            }
            Reset => {
                let times = self.random.random_range(1..6);
                for _ in 0..times {
                    self.nest.proxy.reset();
                    self.pass(0, 500);
                }
                format!("{times} times")
            }
            HalfOpen => {
                self.nest.proxy.freeze();
                "all devices".to_owned()
            }
            Unfit => self.unfit(),
            TakenOver => self.take_over(),
            Clock => {
                let hour = if self.random.random_bool(0.5) { 3600 } else { -3600 };
                self.nest.engine.say(&format!("clock {hour}"));
                self.pass(1500, 3000);
                self.nest.engine.say(&format!("clock {}", -hour));
                format!("{hour} s")
            }
            Panic => {
                let point = self.alarm();
                self.panics_at(point)
            }
            FullDisk => {
                self.nest.disk().fill();
                self.pass(1000, 3000);
                self.nest.disk().empty();
                "full for a while".to_owned()
            }
            Two => {
                let state = match self.random.random_range(0..3) {
                    0 => Condition { latency: Duration::from_millis(150), ..Condition::default() },
                    1 => Condition { up_hangs: true, ..Condition::default() },
                    _ => Condition { down_hangs: true, ..Condition::default() },
                };
                self.nest.proxy.set(state.clone());
                self.pass(0, 800);
                let point = self.random.random_bool(0.5).then(|| self.alarm());
                if point.is_none() {
                    self.kill();
                }
                self.pass(200, 1500);
                self.nest.proxy.set(Condition::default());
                // While the link hung it may have kept the engine from coming to the point.
                let event = point.map_or("killed".to_owned(), |point| self.panics_at(point));
                format!("{state:?}, and {event}")
            }
        }
    }

    fn link(&mut self, condition: Condition) -> String {
        self.nest.proxy.set(condition.clone());
        self.pass(1000, 5000);
        self.nest.proxy.set(Condition::default());
        format!("{condition:?}")
    }

    fn pass(&mut self, from: u64, to: u64) {
        let_pass(Duration::from_millis(self.random.random_range(from..=to)));
    }

    fn kill(&mut self) {
        self.nest.engine.kill();
        self.nest.start(&[]);
    }

    fn arm(&mut self) -> &'static str {
        let point = *AT_WORK.choose(self.random).expect("there are points");
        let times = self.random.random_range(1..20);
        self.nest.engine.say(&format!("kill {point} {times}"));
        point
    }

    fn dies_at(&mut self, point: &str) -> String {
        if !self.nest.engine.dies_at(point) {
            self.wrong.push(format!("the engine did not die at {point}"));
        }
        self.nest.start(&[]);
        point.to_owned()
    }

    /// Orders the engine to panic at a point of its work.
    fn alarm(&mut self) -> &'static str {
        let point = *PANICS.choose(self.random).expect("there are points");
        let times = self.random.random_range(1..20);
        self.nest.engine.say(&format!("panic {point} {times}"));
        point
    }

    /// Waits until the engine has panicked at a point.
    fn panics_at(&mut self, point: &str) -> String {
        if !self.nest.engine.panics_at(point) {
            self.wrong.push(format!("the engine did not panic at {point}"));
        }
        format!("panic at {point}")
    }

    fn unfit(&mut self) -> String {
        let mut publisher = Publisher::connect(&format!("mqtt://{}", self.nest.proxy.address));
        let device = unique_name("unfit");
        for size in [MAX_PAYLOAD, MAX_PAYLOAD + 1] {
            let text = format!(r#"{{"seq":1,"mid":"{device}","temperature":1,"filler":""}}"#);
            let filler = "x".repeat(size - text.len());
            publisher.send(&format!("devices/{device}/data"), text.replace(r#""""#, &format!(r#""{filler}""#)));
        }
        publisher.send(&format!("devices/{device}/data"), "{");
        publisher.settled();
        let history = wait_until(DEADLINE, "the largest message in the history", || {
            Some(self.nest.engine.history(&device)).filter(|history| !history.is_empty())
        });
        if history.len() != 1 {
            self.wrong.push(format!("{device}: {} messages in the history instead of 1", history.len()));
        }
        self.unfit.push(device);
        format!("{MAX_PAYLOAD} bytes, one more, and no JSON")
    }

    fn take_over(&mut self) -> String {
        let mut options = MqttOptions::new(&self.device, "127.0.0.1", self.nest.proxy.address.port());
        options.set_clean_session(false);
        for _ in 0..2 {
            let (_client, mut connection) = Client::new(options.clone(), 1);
            // CONNACK, or nothing while the engine is busy: it has taken the session either way.
            let _ = connection.recv_timeout(Duration::from_millis(300));
            self.pass(0, 800);
        }
        format!("client id {}, twice", self.device)
    }
}
