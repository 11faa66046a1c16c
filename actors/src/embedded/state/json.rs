//! Small things that are stored as JSON with a version, and with the epoch of who wrote them.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use telemill_engine::checkpoint::StoreError;
use telemill_engine::position::Epoch;

use super::{Refusal, STATE};
use crate::embedded::disk::{Read, Tx};

/// The version of every form here.
const VERSION: u16 = 1;

/// Something stored.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Stored<T> {
    v: u16,
    pub(super) epoch: Epoch,
    #[serde(flatten)]
    pub(super) content: T,
}

#[derive(Deserialize)]
struct Version {
    v: u16,
}

/// What stands under a key. Errors name it as `what`.
pub(super) fn read<T: DeserializeOwned>(
    from: &impl Read,
    key: &[u8],
    what: &str,
) -> Result<Option<Stored<T>>, Refusal> {
    let Some(json) = from.get(STATE, key)? else { return Ok(None) };
    let unreadable = |error| StoreError::Corrupt(format!("{what} cannot be read: {error}"));
    let Version { v } = serde_json::from_slice(&json).map_err(unreadable)?;
    if v != VERSION {
        let text = format!(
            "{what} has version {v}, and this program knows version {VERSION} only: it was written by a newer one"
        );
        return Err(StoreError::Corrupt(text).into());
    }
    Ok(Some(serde_json::from_slice(&json).map_err(unreadable)?))
}

/// As [`read`], for an owner that was not superseded.
pub(super) fn read_own<T: DeserializeOwned>(
    from: &impl Read,
    key: &[u8],
    what: &str,
    ours: Epoch,
) -> Result<Option<Stored<T>>, Refusal> {
    match read(from, key, what)? {
        Some(Stored { epoch: theirs, .. }) if theirs > ours => Err(StoreError::Fenced { ours, theirs }.into()),
        stored => Ok(stored),
    }
}

pub(super) fn write<T: Serialize>(tx: &mut Tx<'_>, key: Bytes, epoch: Epoch, content: T) {
    let stored = Stored { v: VERSION, epoch, content };
    tx.insert(STATE, key, serde_json::to_vec(&stored).expect("names, numbers and lists are JSON"));
}

/// Parts of a key, each with a zero byte behind it.
pub(super) fn key(parts: &[&str]) -> Vec<u8> {
    parts.iter().flat_map(|part| part.bytes().chain([0])).collect()
}
