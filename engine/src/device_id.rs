//! The key of everything: a device's name, checked once and hashed once.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use compact_str::CompactString;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

/// The longest device id, in bytes.
pub const MAX_DEVICE_ID: usize = 128;

/// A device id: 1 to 128 of `A-Z a-z 0-9 . _ : -`.
///
/// The alphabet keeps ids safe as parts of MQTT topics, Redis keys, URLs and Kafka keys without escaping. Ids of up to
/// 24 bytes are stored inline. The hash is computed once, when the id enters, and serves every table on the way; it
/// never leaves the process.
#[derive(Clone)]
pub struct DeviceId {
    hash: u64,
    name: CompactString,
}

/// Why a name is not a device id.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum DeviceIdError {
    /// The name has no bytes.
    #[error("a device id is empty; it needs 1 to 128 of A-Z a-z 0-9 . _ : -")]
    Empty,
    /// The name has more than 128 bytes.
    #[error("a device id of {0} bytes is longer than 128")]
    TooLong(usize),
    /// The name has a byte outside the alphabet.
    #[error("byte {0:#04x} is not allowed in a device id; allowed are A-Z a-z 0-9 . _ : -")]
    BadByte(u8),
}

impl DeviceId {
    /// Checks a name and takes it as a device id.
    pub fn new(name: &[u8]) -> Result<Self, DeviceIdError> {
        if name.is_empty() {
            return Err(DeviceIdError::Empty);
        }
        if name.len() > MAX_DEVICE_ID {
            return Err(DeviceIdError::TooLong(name.len()));
        }
        let allowed = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-');
        if let Some(bad) = name.iter().find(|b| !allowed(b)) {
            return Err(DeviceIdError::BadByte(*bad));
        }
        let name = std::str::from_utf8(name).expect("every allowed byte is ASCII");
        Ok(DeviceId::of_checked(CompactString::new(name)))
    }

    /// The id of a name that was one before.
    pub(crate) fn of_checked(name: CompactString) -> Self {
        DeviceId { hash: xxh3_64(name.as_bytes()), name }
    }

    /// The name alone, for where the hash is kept elsewhere.
    pub(crate) fn into_name(self) -> CompactString {
        self.name
    }

    /// The name, as it is kept.
    pub(crate) fn name(&self) -> &CompactString {
        &self.name
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The hash that all tables share. Not stable between versions: never written down.
    pub fn hash64(&self) -> u64 {
        self.hash
    }
}

impl FromStr for DeviceId {
    type Err = DeviceIdError;
    fn from_str(name: &str) -> Result<Self, DeviceIdError> {
        DeviceId::new(name.as_bytes())
    }
}

impl PartialEq for DeviceId {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.name == other.name
    }
}

impl Eq for DeviceId {}

impl Hash for DeviceId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl PartialOrd for DeviceId {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for DeviceId {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.name.cmp(&other.name)
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.name.as_str())
    }
}

impl Serialize for DeviceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
    }
}

impl<'de> Deserialize<'de> for DeviceId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        DeviceId::new(name.as_bytes()).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_alphabet_and_the_length_are_allowed() {
        let check = |name: &[u8], expect: Result<(), DeviceIdError>| assert_eq!(DeviceId::new(name).map(drop), expect);
        check(b"d1", Ok(()));
        check(b"Plant.7:line_2-A", Ok(()));
        check(&[b'x'; 128], Ok(()));
        check(b"", Err(DeviceIdError::Empty));
        check(&[b'x'; 129], Err(DeviceIdError::TooLong(129)));
        check(b"a/b", Err(DeviceIdError::BadByte(b'/')));
        check("ö".as_bytes(), Err(DeviceIdError::BadByte(0xc3)));
        check(b"a b", Err(DeviceIdError::BadByte(b' ')));
    }

    #[test]
    fn an_id_of_up_to_24_bytes_needs_no_allocation_of_its_own() {
        assert_eq!(std::mem::size_of::<DeviceId>(), 32);
    }
}
