//! What is done to the pipeline: classes of faults, of which the seed draws the kind and the moment.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use crate::load::Load;
use crate::points::{AT_START, AT_WORK, PANICS};
use crate::rig::{Link, Rig};
use crate::round::Extra;
use crate::states::{State, link, server};
use crate::support::let_pass;

/// A class of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// The engine dies at a named point while it works.
    KilledAtWork,
    /// It dies at a named point while it starts.
    KilledAtStart,
    /// It dies at random moments.
    Killed,
    /// A server stands still.
    Frozen,
    /// A server ends as it should, and comes back.
    Restarted,
    /// Kafka or Redis is killed.
    ServerKilled,
    /// Mosquitto is killed: what it has not written down is lost. Measured, not promised.
    BrokerKilled,
    /// Redis comes back as it was some time ago.
    RolledBack,
    /// A link is slow.
    Latency,
    /// The connections of a link are reset, several times.
    Reset,
    /// The connections of a link hang for good; new ones do not.
    HalfOpen,
    /// A link hangs in one direction, for a time.
    OneWay,
    /// A message as large as may be, and one that is a byte larger.
    Oversized,
    /// Somebody connects with the engine's client id.
    TakenOver,
    /// Retained messages come in a flood.
    Retained,
    /// Redis cannot take a device's records.
    Poison,
    /// The wall clock is an hour ahead, or behind, and back again.
    Clock,
    /// Redis takes a tenth of what comes.
    SlowStore,
    /// A panic in a component, or in the engine's own actors.
    Panic,
    /// One falls into another.
    Two,
}

use Fault::{
    BrokerKilled, Clock, Frozen, HalfOpen, Killed, KilledAtStart, KilledAtWork, Latency, OneWay, Oversized, Panic,
    Poison, Reset, Restarted, Retained, RolledBack, ServerKilled, SlowStore, TakenOver, Two,
};

/// All classes.
pub const ALL: [Fault; 20] = [
    KilledAtWork,
    KilledAtStart,
    Killed,
    Frozen,
    Restarted,
    ServerKilled,
    BrokerKilled,
    RolledBack,
    Latency,
    Reset,
    HalfOpen,
    OneWay,
    Oversized,
    TakenOver,
    Retained,
    Poison,
    Clock,
    SlowStore,
    Panic,
    Two,
];

/// What falls into a state.
enum Event {
    Killed,
    Reset(Link),
    Panics(&'static str),
    Dies(&'static str),
}

/// What a fault has to work with.
pub struct Scene<'s> {
    pub rig: &'s mut Rig,
    pub load: &'s Load,
    pub random: &'s mut StdRng,
    pub extra: &'s mut Extra,
}

impl Scene<'_> {
    /// Does it, and undoes it; what exactly was done. When this returns everything is whole again, and the engine has
    /// been started.
    pub fn inflict(&mut self, fault: Fault) -> String {
        match fault {
            KilledAtWork => {
                let point = self.arm();
                self.dies_at(point)
            }
            KilledAtStart => {
                let point = *AT_START.choose(self.random).expect("there are points");
                self.rig.engine.kill();
                self.rig.start(&[format!("kill {point} 1")]);
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
                let state = State::frozen(self.random);
                self.last(state, 500, 4000)
            }
            Latency => {
                let state = State::slow(self.random);
                self.last(state, 1000, 3000)
            }
            OneWay => {
                let state = State::one_way(self.random);
                self.last(state, 1000, 6000)
            }
            Clock => {
                self.extra.clock_goes_back = true;
                let state = State::clock(self.random);
                self.last(state, 1500, 3000)
            }
            SlowStore => self.last(State::Trickle(40_000), 4000, 6000),
            Restarted => {
                let link = link(self.random);
                self.extra.updates_are_whole &= link != Link::Redis;
                self.without_load(link, |scene| server(scene.rig, link).restart());
                format!("{link:?}")
            }
            ServerKilled => {
                let link = *[Link::Kafka, Link::Redis].choose(self.random).expect("there are two");
                self.extra.updates_are_whole &= link != Link::Redis;
                self.die_and_return(link);
                format!("{link:?}")
            }
            BrokerKilled => {
                self.extra.broker_may_lose = true;
                // What it has not delivered is what it can lose.
                let hangs = State::OneWay(Link::Mqtt, false);
                hangs.impose(self.rig);
                self.pass(300, 1500);
                self.without_load(Link::Mqtt, |scene| scene.die_and_return(Link::Mqtt));
                hangs.lift(self.rig);
                "Mosquitto".to_owned()
            }
            RolledBack => self.roll_back(),
            Reset => {
                let (link, times) = (link(self.random), self.random.random_range(1..6));
                for _ in 0..times {
                    self.rig.proxy(link).reset();
                    self.pass(0, 500);
                }
                format!("{link:?}, {times} times")
            }
            HalfOpen => {
                let link = link(self.random);
                self.rig.proxy(link).freeze();
                format!("{link:?}")
            }
            Oversized => self.oversize(),
            TakenOver => self.take_over(),
            Retained => self.retain(),
            Poison => self.poison(),
            Panic => {
                let point = self.alarm();
                self.panics_at(point)
            }
            Two => self.two(),
        }
    }

    /// A state, and what falls into it.
    fn two(&mut self) -> String {
        let states = [State::frozen, State::slow, State::one_way, State::clock];
        let state = states.choose(self.random).expect("there are some")(self.random);
        state.impose(self.rig);
        self.pass(0, 1500);
        let event = match self.random.random_range(0..4) {
            0 => {
                self.kill();
                Event::Killed
            }
            1 => {
                let link = link(self.random);
                self.rig.proxy(link).reset();
                Event::Reset(link)
            }
            2 => Event::Panics(self.alarm()),
            _ => Event::Dies(self.arm()),
        };
        self.pass(500, 2500);
        self.extra.clock_goes_back = matches!(state, State::Clock(_));
        // A clock that was wrong is so no more in an engine that was started anew.
        let is_another = matches!((&event, state), (Event::Killed, State::Clock(_)));
        if !is_another {
            state.lift(self.rig);
        }
        // While the state lasted it may have kept the engine from coming to the point.
        let event = match event {
            Event::Killed => "killed".to_owned(),
            Event::Reset(link) => format!("{link:?} reset"),
            Event::Panics(point) => self.panics_at(point),
            Event::Dies(point) => format!("dies at {}", self.dies_at(point)),
        };
        format!("{state}, and {event}")
    }

    /// Imposes a state for a time.
    fn last(&mut self, state: State, from: u64, to: u64) -> String {
        state.impose(self.rig);
        self.pass(from, to);
        state.lift(self.rig);
        state.to_string()
    }

    pub fn pass(&mut self, from: u64, to: u64) {
        let_pass(Duration::from_millis(self.random.random_range(from..=to)));
    }

    pub fn kill(&mut self) {
        self.rig.engine.kill();
        self.rig.start(&[]);
    }

    /// Orders the engine to die at a point of its work.
    fn arm(&mut self) -> &'static str {
        let point = *AT_WORK.choose(self.random).expect("there are points");
        let times = self.random.random_range(1..20);
        self.rig.engine.say(&format!("kill {point} {times}"));
        point
    }

    /// Waits until the engine has died at a point, and starts it anew.
    pub fn dies_at(&mut self, point: &str) -> String {
        self.is_dead_at(point);
        self.rig.start(&[]);
        point.to_owned()
    }

    /// Waits until the engine, which has the order, has died at a point.
    pub fn is_dead_at(&mut self, point: &str) {
        if !self.rig.engine.dies_at(point) {
            self.extra.wrong.push(format!("the engine did not die at {point}"));
        }
    }

    /// Orders the engine to panic at a point of its work.
    fn alarm(&mut self) -> &'static str {
        let point = *PANICS.choose(self.random).expect("there are points");
        let times = self.random.random_range(1..20);
        self.rig.engine.say(&format!("panic {point} {times}"));
        point
    }

    /// Waits until the engine has panicked at a point.
    fn panics_at(&mut self, point: &str) -> String {
        if !self.rig.engine.panics_at(point) {
            self.extra.wrong.push(format!("the engine did not panic at {point}"));
        }
        format!("panic at {point}")
    }

    fn die_and_return(&mut self, link: Link) {
        server(self.rig, link).kill9();
        self.pass(0, 500);
        server(self.rig, link).restart();
    }

    /// Has the devices wait where a message on its way to the broker would be published twice.
    fn without_load(&mut self, link: Link, change: impl FnOnce(&mut Self)) {
        if link == Link::Mqtt {
            self.load.pause();
        }
        change(self);
        self.load.go_on();
    }
}
