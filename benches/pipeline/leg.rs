//! The two legs of the pipeline.

use clap::ValueEnum;

/// A part of the pipeline that is measured alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Leg {
    /// From MQTT to Kafka: ingress and router.
    Mqtt,
    /// From Kafka to Redis: source and writer.
    Redis,
}

impl Leg {
    /// The word on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Leg::Mqtt => "mqtt",
            Leg::Redis => "redis",
        }
    }

    /// The name in the tables.
    pub fn title(self) -> &'static str {
        match self {
            Leg::Mqtt => "MQTT → Kafka",
            Leg::Redis => "Kafka → Redis",
        }
    }
}
