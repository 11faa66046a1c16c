//! Checkpoints: a hash of live sessions, one of passive ones, and the meta that says up to where they hold.

use std::sync::LazyLock;

use bytes::Bytes;
use redis::{FromRedisValue, Script, Value, cmd, from_redis_value};
use telemill_engine::checkpoint::{CheckpointDelta, CheckpointMeta, Scope, SessionPage, StoreError};
use telemill_engine::device_id::DeviceId;
use telemill_engine::position::Epoch;

use super::run;
use crate::redis::Link;

static OPEN: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("open.lua")));
static SAVE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("save.lua")));

/// About how many sessions a page has: a round trip is then a small part of what a page costs, and no page holds the
/// server up.
const PAGE: usize = 5_000;
/// A block of a delta is closed once it has grown beyond this many bytes.
const BLOCK: usize = 1 << 20;

fn key(scope: &Scope, what: &str) -> String {
    format!("telemill:checkpoint:{scope}:{what}")
}

pub(super) async fn open(link: &Link, scope: &Scope, epoch: Epoch) -> Result<Option<CheckpointMeta>, StoreError> {
    let key = key(scope, "meta");
    let answer = run(link, &OPEN, &[&key], &[epoch.to_string().as_bytes()], epoch).await?;
    if answer.len() == 0 {
        return Ok(None);
    }
    let corrupt = |error| StoreError::Corrupt(format!("`{key}` cannot be read: {error}"));
    serde_json::from_str(&answer.text(0)).map(Some).map_err(corrupt)
}

/// A page of the sessions that are `what`: `live` or `passive`.
pub(super) async fn load_page(
    link: &Link,
    scope: &Scope,
    what: &str,
    page: Option<u64>,
) -> Result<SessionPage, StoreError> {
    let key = key(scope, what);
    let (sessions, next) = scan(link, &key, page).await?;
    let sessions = sessions.into_iter().map(|(name, session)| Ok((device(&key, &name)?, Bytes::from(session))));
    Ok(SessionPage { sessions: sessions.collect::<Result<_, StoreError>>()?, next })
}

pub(super) async fn number(link: &Link, scope: &Scope) -> Result<u64, StoreError> {
    let key = key(scope, "meta");
    let mut command = cmd("HGET");
    command.arg(&key).arg("n");
    let number: Option<u64> = read(&key, link.query(&command).await?)?;
    Ok(number.unwrap_or_default())
}

pub(super) async fn load_passive(
    link: &Link,
    scope: &Scope,
    devices: &[DeviceId],
) -> Result<Vec<Option<Bytes>>, StoreError> {
    let key = key(scope, "passive");
    let mut sessions = Vec::with_capacity(devices.len());
    for page in devices.chunks(PAGE) {
        let mut command = cmd("HMGET");
        command.arg(&key);
        for device in page {
            command.arg(device.as_str());
        }
        let found: Vec<Option<Vec<u8>>> = read(&key, link.query(&command).await?)?;
        sessions.extend(found.into_iter().map(|session| session.map(Bytes::from)));
    }
    Ok(sessions)
}

pub(super) async fn save(link: &Link, scope: &Scope, epoch: Epoch, delta: &CheckpointDelta) -> Result<(), StoreError> {
    let keys = ["meta", "live", "passive"].map(|what| key(scope, what));
    let keys = keys.each_ref().map(String::as_str);
    let meta = serde_json::to_vec(&delta.meta).expect("numbers and strings are JSON");
    let live = blocks(delta.live.iter().map(|(device, session)| (device, Some(session))));
    let passivated = blocks(delta.passivated.iter().map(|(device, session)| (device, Some(session))));
    let forgotten = blocks(delta.forgotten.iter().map(|device| (device, None)));
    let counts = [live.len(), passivated.len(), forgotten.len()].map(|count| count.to_string());
    let [live_count, passivated_count, forgotten_count] = &counts;
    let (epoch_text, number) = (epoch.to_string(), delta.meta.number.to_string());
    let mut args: Vec<&[u8]> = vec![
        epoch_text.as_bytes(),
        &meta,
        number.as_bytes(),
        live_count.as_bytes(),
        passivated_count.as_bytes(),
        forgotten_count.as_bytes(),
    ];
    args.extend(live.iter().chain(&passivated).chain(&forgotten).map(Vec::as_slice));
    run(link, &SAVE, &keys, &args, epoch).await.map(drop)
}

/// Sessions packed into blocks, in the layout that `save.lua` gives.
fn blocks<'a>(sessions: impl Iterator<Item = (&'a DeviceId, Option<&'a Bytes>)>) -> Vec<Vec<u8>> {
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    for (device, session) in sessions {
        if blocks.last().is_none_or(|block| block.len() >= BLOCK) {
            blocks.push(Vec::new());
        }
        let block = blocks.last_mut().expect("there is one now");
        let name = device.as_str().as_bytes();
        block.extend_from_slice(&(name.len() as u16).to_le_bytes());
        block.extend_from_slice(name);
        if let Some(session) = session {
            block.extend_from_slice(&(session.len() as u32).to_le_bytes());
            block.extend_from_slice(session);
        }
    }
    blocks
}

type Sessions = Vec<(Vec<u8>, Vec<u8>)>;

async fn scan(link: &Link, key: &str, page: Option<u64>) -> Result<(Sessions, Option<u64>), StoreError> {
    let mut command = cmd("HSCAN");
    command.arg(key).arg(page.unwrap_or(0)).arg("COUNT").arg(PAGE);
    let (next, sessions): (u64, Sessions) = read(key, link.query(&command).await?)?;
    Ok((sessions, (next != 0).then_some(next)))
}

fn read<T: FromRedisValue>(key: &str, value: Value) -> Result<T, StoreError> {
    from_redis_value(value).map_err(|error| StoreError::Corrupt(format!("`{key}` cannot be read: {error}")))
}

fn device(key: &str, name: &[u8]) -> Result<DeviceId, StoreError> {
    DeviceId::new(name).map_err(|error| StoreError::Corrupt(format!("`{key}` has a field that is no device: {error}")))
}
