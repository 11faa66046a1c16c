//! Checkpoints: sessions, live and passive, and the meta that says up to where they hold.
//!
//! A session has one row, whose value says whether it is live: so it is never both, and one that changes state leaves
//! nothing behind. Rows are in the order of a hash, so that a page begins at a number.

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use telemill_engine::checkpoint::{CheckpointDelta, CheckpointMeta, Scope, SessionPage, StoreError};
use telemill_engine::device_id::DeviceId;
use telemill_engine::position::Epoch;
use xxhash_rust::xxh3::xxh3_64;

use super::{Refusal, SESSIONS, json};
use crate::embedded::disk::{Disk, KeyRange, Read, View};

/// About how many sessions a page has.
const PAGE: usize = 5_000;

pub(super) const LIVE: u8 = b'l';
pub(super) const PASSIVE: u8 = b'p';

#[derive(Serialize, Deserialize)]
struct Content {
    meta: Option<CheckpointMeta>,
}

fn meta_key(scope: &Scope) -> Vec<u8> {
    [&json::key(&["checkpoint"])[..], &prefix(scope)].concat()
}

/// What the keys of all sessions of a scope begin with.
fn prefix(scope: &Scope) -> Vec<u8> {
    let mut prefix = json::key(&[&scope.topology, &scope.source]);
    // With the sign bit inverted numbers sort by their bytes.
    prefix.extend_from_slice(&(scope.partition ^ i32::MIN).to_be_bytes());
    prefix
}

fn session_key(prefix: &[u8], device: &DeviceId) -> Bytes {
    let name = device.as_str().as_bytes();
    let mut key = BytesMut::with_capacity(prefix.len() + 8 + name.len());
    key.put_slice(prefix);
    key.put_u64(xxh3_64(name));
    key.put_slice(name);
    key.freeze()
}

fn what(scope: &Scope) -> String {
    format!("the checkpoint of {scope}")
}

pub(super) async fn open(disk: &Disk, scope: &Scope, epoch: Epoch) -> Result<Option<CheckpointMeta>, StoreError> {
    let (key, what) = (meta_key(scope), what(scope));
    let opened = disk.write(move |tx| {
        let stored = json::read_own::<Content>(tx, &key, &what, epoch)?;
        let meta = stored.and_then(|stored| stored.content.meta);
        json::write(tx, key.into(), epoch, Content { meta: meta.clone() });
        Ok::<_, Refusal>(meta)
    });
    Ok(opened.await?)
}

/// A page of the sessions of one kind, [`LIVE`] or [`PASSIVE`].
pub(super) async fn load_page(
    disk: &Disk,
    scope: &Scope,
    kind: u8,
    page: Option<u64>,
) -> Result<SessionPage, StoreError> {
    let prefix = prefix(scope);
    let read = disk.read(move |view| {
        let mut sessions = Vec::new();
        let next = each(view, &prefix, page, kind, |device, session| sessions.push((device, session)))?;
        Ok::<_, Refusal>(SessionPage { sessions, next })
    });
    Ok(read.await?)
}

/// Gives out the sessions of one kind in a page; where the next page begins.
fn each(
    view: &View<'_>,
    prefix: &[u8],
    page: Option<u64>,
    kind: u8,
    mut give: impl FnMut(DeviceId, Bytes),
) -> Result<Option<u64>, Refusal> {
    let from = [prefix, &page.unwrap_or(0).to_be_bytes()].concat();
    let range = KeyRange::prefix(prefix.to_vec()).starting_at(from);
    let mut last = None;
    for (count, row) in view.rows(SESSIONS, range).enumerate() {
        let (key, session) = row?;
        let unreadable = || StoreError::Corrupt("a row of `sessions` is of another form".to_owned());
        let (hash, name) = key[prefix.len()..].split_first_chunk::<8>().ok_or_else(unreadable)?;
        let hash = u64::from_be_bytes(*hash);
        // A page ends between two hashes, so that the next one begins behind it whole.
        if count >= PAGE && last != Some(hash) {
            return Ok(Some(hash));
        }
        last = Some(hash);
        if session.first() == Some(&kind) {
            let device = DeviceId::new(name).map_err(|_| unreadable())?;
            give(device, session.slice(1..));
        }
    }
    Ok(None)
}

pub(super) async fn number(disk: &Disk, scope: &Scope) -> Result<u64, StoreError> {
    let (key, what) = (meta_key(scope), what(scope));
    let read = disk.read(move |view| Ok::<_, Refusal>(number_of(json::read::<Content>(view, &key, &what)?.as_ref())));
    Ok(read.await?)
}

fn number_of(stored: Option<&json::Stored<Content>>) -> u64 {
    stored.and_then(|stored| stored.content.meta.as_ref()).map_or(0, |meta| meta.number)
}

pub(super) async fn load_passive(
    disk: &Disk,
    scope: &Scope,
    devices: &[DeviceId],
) -> Result<Vec<Option<Bytes>>, StoreError> {
    let (prefix, devices) = (prefix(scope), devices.to_vec());
    let read = disk.read(move |view| {
        let session = |device| {
            let session = view.get(SESSIONS, &session_key(&prefix, device))?;
            Ok::<_, Refusal>(session.filter(|session| session.first() == Some(&PASSIVE)).map(|found| found.slice(1..)))
        };
        devices.iter().map(session).collect::<Result<Vec<_>, _>>()
    });
    Ok(read.await?)
}

pub(super) async fn save(disk: &Disk, scope: &Scope, epoch: Epoch, delta: &CheckpointDelta) -> Result<(), StoreError> {
    let (key, prefix, what, delta) = (meta_key(scope), prefix(scope), what(scope), delta.clone());
    let saved = disk.write(move |tx| {
        let stored = json::read_own::<Content>(tx, &key, &what, epoch)?;
        delta.fits(number_of(stored.as_ref()))?;
        for (kind, sessions) in [(LIVE, &delta.live), (PASSIVE, &delta.passivated)] {
            for (device, session) in sessions {
                let mut value = BytesMut::with_capacity(1 + session.len());
                value.put_u8(kind);
                value.put_slice(session);
                tx.insert(SESSIONS, session_key(&prefix, device), value);
            }
        }
        for device in &delta.forgotten {
            tx.remove(SESSIONS, session_key(&prefix, device));
        }
        json::write(tx, key.into(), epoch, Content { meta: Some(delta.meta) });
        Ok::<_, Refusal>(())
    });
    Ok(saved.await?)
}
