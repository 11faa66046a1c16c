//! Durations as people write them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// The units, largest first, each in nanoseconds.
const UNITS: &[(&str, u128)] = &[
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

const EXAMPLES: &str = "write a number and a unit, such as `100ms`, `60s`, `15m`, `5h`, `7d` or `1h30m`";

/// A duration written with units: `100ms`, `60s`, `15m`, `5h`, `7d`, and compound, larger units first: `1h30m`.
///
/// `Display` writes the same form back.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HumanDuration(Duration);

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DurationError {
    /// Not numbers with units.
    #[error("`{0}` is not a duration")]
    Malformed(String),
    /// A number without a unit.
    #[error("the duration `{0}` has no unit")]
    NoUnit(String),
    /// A unit that does not exist.
    #[error("`{unit}` in `{text}` is not a unit of time")]
    UnknownUnit {
        /// The whole text.
        text: String,
        /// The unit.
        unit: String,
    },
    /// Units that repeat or grow.
    #[error("the units of `{0}` must get smaller, each at most once")]
    Order(String),
    /// More than can be counted.
    #[error("the duration `{0}` is too long")]
    TooLong(String),
}

impl HumanDuration {
    /// The duration.
    pub fn get(self) -> Duration {
        self.0
    }
}

impl From<Duration> for HumanDuration {
    fn from(duration: Duration) -> Self {
        HumanDuration(duration)
    }
}

impl From<HumanDuration> for Duration {
    fn from(duration: HumanDuration) -> Self {
        duration.0
    }
}

impl FromStr for HumanDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut nanos: u128 = 0;
        let mut smallest = 0;
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            if digits == 0 {
                return Err(DurationError::Malformed(text.to_owned()));
            }
            let (number, behind) = rest.split_at(digits);
            let letters = behind.bytes().take_while(u8::is_ascii_alphabetic).count();
            let (unit, behind) = behind.split_at(letters);
            if unit.is_empty() {
                return Err(if behind.is_empty() {
                    DurationError::NoUnit(text.to_owned())
                } else {
                    DurationError::Malformed(text.to_owned())
                });
            }
            let Some(position) = UNITS.iter().position(|(name, _)| *name == unit) else {
                return Err(DurationError::UnknownUnit { text: text.to_owned(), unit: unit.to_owned() });
            };
            if position < smallest {
                return Err(DurationError::Order(text.to_owned()));
            }
            smallest = position + 1;
            let part = number.parse::<u128>().ok().and_then(|number| number.checked_mul(UNITS[position].1));
            nanos =
                part.and_then(|part| nanos.checked_add(part)).ok_or_else(|| DurationError::TooLong(text.to_owned()))?;
            rest = behind;
        }
        if text.is_empty() {
            return Err(DurationError::Malformed(String::new()));
        }
        let too_long = |_| DurationError::TooLong(text.to_owned());
        let seconds = u64::try_from(nanos / 1_000_000_000).map_err(too_long)?;
        Ok(HumanDuration(Duration::new(seconds, (nanos % 1_000_000_000) as u32)))
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut nanos = self.0.as_nanos();
        if nanos == 0 {
            return f.write_str("0s");
        }
        for (unit, size) in UNITS {
            if nanos >= *size {
                write!(f, "{}{unit}", nanos / size)?;
                nanos %= size;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        super::decode::parse_text(deserializer, "a duration such as `60s`", EXAMPLES, "1s")
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for HumanDuration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let parts: String = UNITS.iter().map(|(unit, _)| format!("([0-9]+{unit})?")).collect();
        json_schema!({
            "type": "string",
            "description": "A duration: numbers with units d, h, m, s, ms, us, ns, the larger units first.",
            "examples": ["100ms", "60s", "1h30m"],
            "minLength": 2,
            // A value from the environment is checked once it is known.
            "pattern": format!(r"^({parts}|.*\$\{{.*)$"),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_and_written_back() {
        for (text, millis) in [
            ("100ms", 100),
            ("60s", 60_000),
            ("15m", 900_000),
            ("5h", 18_000_000),
            ("7d", 604_800_000),
            ("1h30m", 5_400_000),
            ("1d2h3m4s5ms", 93_784_005),
            ("0s", 0),
        ] {
            let duration: HumanDuration = text.parse().expect("it is right");
            assert_eq!(duration.get(), Duration::from_millis(millis), "{text}");
        }
        assert_eq!(HumanDuration(Duration::from_secs(90)).to_string(), "1m30s");
        assert_eq!(HumanDuration(Duration::ZERO).to_string(), "0s");
    }

    #[test]
    fn what_is_no_duration_says_why() {
        for (text, message) in [
            ("", "`` is not a duration"),
            ("60", "the duration `60` has no unit"),
            ("60 s", "`60 s` is not a duration"),
            ("1.5s", "`1.5s` is not a duration"),
            ("-1s", "`-1s` is not a duration"),
            ("60sec", "`sec` in `60sec` is not a unit of time"),
            ("30m1h", "the units of `30m1h` must get smaller, each at most once"),
            ("1s1s", "the units of `1s1s` must get smaller, each at most once"),
            ("999999999999999999999d", "the duration `999999999999999999999d` is too long"),
            (
                "9999999999999999999999999999999999999999s",
                "the duration `9999999999999999999999999999999999999999s` is too long",
            ),
        ] {
            assert_eq!(text.parse::<HumanDuration>().expect_err("it is wrong").to_string(), message);
        }
    }

    proptest! {
        #[test]
        fn any_duration_round_trips(seconds: u64, nanos in 0u32..1_000_000_000) {
            let duration = HumanDuration(Duration::new(seconds, nanos));
            prop_assert_eq!(duration.to_string().parse::<HumanDuration>(), Ok(duration));
        }
    }
}
