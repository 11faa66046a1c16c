//! Sizes as people write them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// The units, those preferred for writing first.
const UNITS: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("KB", 1_000),
    ("B", 1),
];

const EXAMPLES: &str = "write a whole number and a unit, such as `512B`, `256KiB`, `10MB` or `1GiB`";

/// A number of bytes written with a unit: `256KiB` (powers of 1024), `10MB` (powers of 1000).
///
/// `Display` writes the same form back, with the largest unit that divides the size.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ByteSize(u64);

/// Why a text is no size.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ByteSizeError {
    /// Not a whole number with a unit.
    #[error("`{0}` is not a size")]
    Malformed(String),
    /// A number without a unit.
    #[error("the size `{0}` has no unit")]
    NoUnit(String),
    /// A unit that does not exist.
    #[error("`{unit}` in `{text}` is not a unit of size")]
    UnknownUnit {
        /// The whole text.
        text: String,
        /// The unit.
        unit: String,
    },
    /// More than can be counted.
    #[error("the size `{0}` is too large")]
    TooLarge(String),
}

impl ByteSize {
    /// The number of bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl From<u64> for ByteSize {
    fn from(bytes: u64) -> Self {
        ByteSize(bytes)
    }
}

impl From<ByteSize> for u64 {
    fn from(size: ByteSize) -> Self {
        size.0
    }
}

impl FromStr for ByteSize {
    type Err = ByteSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (number, unit) = text.split_at(text.bytes().take_while(u8::is_ascii_digit).count());
        if number.is_empty() {
            return Err(ByteSizeError::Malformed(text.to_owned()));
        }
        if unit.is_empty() {
            return Err(ByteSizeError::NoUnit(text.to_owned()));
        }
        if !unit.bytes().all(|b| b.is_ascii_alphabetic()) {
            return Err(ByteSizeError::Malformed(text.to_owned()));
        }
        let Some((_, size)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(ByteSizeError::UnknownUnit { text: text.to_owned(), unit: unit.to_owned() });
        };
        let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*size));
        bytes.map(ByteSize).ok_or_else(|| ByteSizeError::TooLarge(text.to_owned()))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(_, size)| self.0 > 0 && self.0.is_multiple_of(*size)) {
            Some((unit, size)) => write!(f, "{}{unit}", self.0 / size),
            None => f.write_str("0B"),
        }
    }
}

impl fmt::Debug for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        super::decode::parse_text(deserializer, "a size such as `256KiB`", EXAMPLES, "1B")
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for ByteSize {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let units = UNITS.iter().map(|(unit, _)| *unit).collect::<Vec<_>>().join("|");
        json_schema!({
            "type": "string",
            "description": "A number of bytes with its unit.",
            "examples": ["256KiB", "10MB"],
            // A value from the environment is checked once it is known.
            "pattern": format!(r"^([0-9]+({units})|.*\$\{{.*)$"),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_read_and_written_back() {
        for (text, bytes) in
            [("256KiB", 262_144), ("10MB", 10_000_000), ("1GiB", 1 << 30), ("5kB", 5_000), ("512B", 512), ("0B", 0)]
        {
            let size: ByteSize = text.parse().expect("it is right");
            assert_eq!((size.bytes(), size.to_string().as_str()), (bytes, text));
        }
    }

    #[test]
    fn what_is_no_size_says_why() {
        for (text, message) in [
            ("", "`` is not a size"),
            ("1024", "the size `1024` has no unit"),
            ("1.5MB", "`1.5MB` is not a size"),
            ("10Mb", "`Mb` in `10Mb` is not a unit of size"),
            ("99999999999TiB", "the size `99999999999TiB` is too large"),
        ] {
            assert_eq!(text.parse::<ByteSize>().expect_err("it is wrong").to_string(), message);
        }
    }

    proptest! {
        #[test]
        fn any_size_round_trips(bytes: u64) {
            prop_assert_eq!(ByteSize(bytes).to_string().parse::<ByteSize>(), Ok(ByteSize(bytes)));
        }
    }
}
