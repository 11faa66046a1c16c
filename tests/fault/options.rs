//! What a run is told by its environment (`tests/fault/run` sets it).

use std::collections::BTreeSet;
use std::fmt::{self, Debug};
use std::time::Duration;

use crate::{embedded, faults};

/// Which of the two is under fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Pipeline,
    Embedded,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Pipeline => "pipeline",
            Side::Embedded => "embedded",
        })
    }
}

/// See the module.
pub struct RunOptions {
    pub seed: u64,
    /// How long to go on; one of each class where nothing is said.
    pub lasts: Option<Duration>,
    pub messages: usize,
    /// Only faults of this class.
    pub only: Option<String>,
    /// Only this round.
    pub round: Option<u64>,
    /// Only this side.
    side: Option<Side>,
}

impl RunOptions {
    /// # Panics
    /// Where they name what is not there.
    pub fn read() -> RunOptions {
        let options = RunOptions {
            seed: number("SEED").unwrap_or(1),
            lasts: number("SECONDS").map(Duration::from_secs),
            messages: number("MESSAGES").unwrap_or(2000) as usize,
            only: text("ONLY"),
            round: number("ROUND"),
            side: text("SIDE").map(|side| match &*side {
                "pipeline" => Side::Pipeline,
                "embedded" => Side::Embedded,
                _ => panic!("a side is pipeline or embedded, not `{side}`"),
            }),
        };
        let sides = [(Side::Pipeline, names(&faults::ALL)), (Side::Embedded, names(&embedded::ALL))];
        let classes: BTreeSet<String> =
            sides.into_iter().filter(|(side, _)| options.has(*side)).flat_map(|(_, names)| names).collect();
        if let Some(only) = options.only.as_ref().filter(|only| !classes.contains(*only)) {
            panic!("there is no class `{only}`, but {}", Vec::from_iter(classes).join(", "));
        }
        assert!(options.round != Some(0), "the first round is round 1");
        options
    }

    /// The classes of a side that are to be done.
    pub fn classes<F: Copy + Debug>(&self, side: Side, all: &[F]) -> Vec<F> {
        let is_wanted = |class: &&F| self.only.as_ref().is_none_or(|only| *only == format!("{class:?}"));
        if self.has(side) { all.iter().filter(is_wanted).copied().collect() } else { Vec::new() }
    }

    /// What does a round again, and nothing else.
    pub fn replay(&self, side: Side, round: u64) -> String {
        let RunOptions { seed, messages, only, .. } = self;
        let only = only.iter().map(|only| format!(" --only {only}")).collect::<String>();
        format!("tests/fault/run --nightly --seed {seed} --messages {messages}{only} --side {side} --round {round}")
    }

    fn has(&self, side: Side) -> bool {
        self.side.is_none_or(|only| only == side)
    }
}

fn text(name: &str) -> Option<String> {
    std::env::var(format!("TELEMILL_FAULT_{name}")).ok().filter(|text| !text.is_empty())
}

fn number(name: &str) -> Option<u64> {
    let text = text(name)?;
    Some(text.parse().unwrap_or_else(|_| panic!("TELEMILL_FAULT_{name} is a number, not `{text}`")))
}

fn names<F: Debug>(classes: &[F]) -> Vec<String> {
    classes.iter().map(|class| format!("{class:?}")).collect()
}
