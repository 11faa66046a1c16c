//! What lasts for a while: a server that stands still, a link that is slow or hangs, a clock that is wrong.

use std::fmt;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use telemill_services::Server;

use crate::proxy::Condition;
use crate::rig::{LINKS, Link, Rig};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub enum State {
    /// A server is stopped (SIGSTOP).
    Frozen(Link),
    /// What goes over a link arrives so much later.
    Slow(Link, Duration),
    /// Nothing arrives in one direction.
    OneWay(Link, bool),
    /// Redis gets so many bytes a second.
    Trickle(u64),
    /// The wall clock is so many seconds off.
    Clock(i64),
}

impl State {
    pub fn frozen(random: &mut StdRng) -> State {
        State::Frozen(link(random))
    }

    pub fn slow(random: &mut StdRng) -> State {
        State::Slow(link(random), Duration::from_millis(random.random_range(20..300)))
    }

    pub fn one_way(random: &mut StdRng) -> State {
        State::OneWay(link(random), random.random_bool(0.5))
    }

    pub fn clock(random: &mut StdRng) -> State {
        State::Clock(if random.random_bool(0.5) { 3600 } else { -3600 })
    }

    /// Begins it.
    pub fn impose(self, rig: &mut Rig) {
        let normal = Condition::default();
        match self {
            State::Frozen(link) => server(rig, link).stop(),
            State::Slow(link, latency) => rig.proxy(link).set(Condition { latency, ..normal }),
            State::OneWay(link, up) => rig.proxy(link).set(Condition { up_hangs: up, down_hangs: !up, ..normal }),
            State::Trickle(rate) => rig.proxy(Link::Redis).set(Condition { rate: Some(rate), ..normal }),
            State::Clock(seconds) => rig.engine.say(&format!("clock {seconds}")),
        }
    }

    /// Ends it.
    pub fn lift(self, rig: &mut Rig) {
        match self {
            State::Frozen(link) => server(rig, link).cont(),
            State::Slow(link, _) | State::OneWay(link, _) => rig.proxy(link).set(Condition::default()),
            State::Trickle(_) => rig.proxy(Link::Redis).set(Condition::default()),
            State::Clock(seconds) => rig.engine.say(&format!("clock {}", -seconds)),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            State::Frozen(link) => write!(f, "{link:?} stopped"),
            State::Slow(link, latency) => write!(f, "{link:?} slow by {latency:?}"),
            State::OneWay(link, true) => write!(f, "{link:?} hears nothing"),
            State::OneWay(link, false) => write!(f, "{link:?} is not heard"),
            State::Trickle(rate) => write!(f, "Redis gets {rate} bytes a second"),
            State::Clock(seconds) => write!(f, "the clock is {seconds} s off"),
        }
    }
}

/// Any link.
pub fn link(random: &mut StdRng) -> Link {
    *LINKS.choose(random).expect("there are links")
}

/// The server at the end of a link.
pub fn server(rig: &Rig, link: Link) -> &Server {
    match link {
        Link::Mqtt => &rig.mosquitto,
        Link::Kafka => &rig.kafka,
        Link::Redis => &rig.redis,
    }
}
