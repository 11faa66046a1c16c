//! `simulate:`: a fleet of simulated devices that a topology brings along.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::document::{HumanDuration, Located};

/// A fleet of simulated devices that publish to this topology's own ingress while it runs: for demos and trials.
///
/// The fields mean what the options of `telemill simulate` mean. Whoever runs the topology checks and runs the fleet; the
/// engine only knows that there is to be one.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SimulateSpec {
    /// How many devices; at least 1.
    pub devices: Located<u32>,
    /// Records a second of all devices together; above 0.
    pub rate: Located<f64>,
    /// What a record looks like: JSON with placeholders, as `telemill simulate --help` lists them.
    pub payload: Option<Located<String>>,
    /// The same seed makes the same data. Without one it is random.
    pub seed: Option<u64>,
    /// How often each device says hello; `0s` is never.
    pub hello_every: HumanDuration,
    /// The last so many devices get hotter with every record, above 80 °C, and stay there.
    pub hot: Located<u32>,
    /// The first so many devices fall silent, after `silent_after`.
    pub silent: Located<u32>,
    /// When those devices fall silent.
    pub silent_after: HumanDuration,
    /// So many of a hundred records are broken: cut off, empty, no JSON, not UTF-8.
    pub malformed: Located<f64>,
    /// So many of a hundred records are sent twice.
    pub duplicate: Located<f64>,
}

impl Default for SimulateSpec {
    fn default() -> Self {
        SimulateSpec {
            devices: Located::nowhere(100),
            rate: Located::nowhere(50.0),
            payload: None,
            seed: None,
            hello_every: Duration::from_secs(30).into(),
            hot: Located::nowhere(0),
            silent: Located::nowhere(0),
            silent_after: Duration::from_secs(30).into(),
            malformed: Located::nowhere(0.0),
            duplicate: Located::nowhere(0.0),
        }
    }
}
