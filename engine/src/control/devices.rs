//! Devices: who is online, their state and history, and commands for them.

use std::collections::HashSet;
use std::str::FromStr;
use std::time::Duration;

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use ulid::Ulid;

use crate::device_id::DeviceId;
use crate::keyed::Presence;
use crate::ports::Command;
use crate::record::EventId;
use crate::topology::HumanDuration;

use super::choice::{Recipient, ask, recipient};
use super::origin::OwnOrigin;
use super::{ApiError, ControlState, NoQuery, Running};

/// The most messages of history in one answer.
pub(super) const MAX_HISTORY: usize = 10_000;
/// How many messages are given when the caller does not say.
const DEFAULT_HISTORY: usize = 100;

/// The ids of the devices that are online.
pub(super) async fn list(state: web::Data<ControlState>, _: NoQuery) -> HttpResponse {
    let mut devices: Vec<DeviceId> = Vec::new();
    let all = state.all();
    for running in &all {
        devices.extend(running.view.directory.online().into_iter().map(|(device, _)| device));
    }
    // Several topologies may know one device.
    if all.len() > 1 {
        let mut seen = HashSet::with_capacity(devices.len());
        devices.retain(|device| seen.insert(device.clone()));
    }
    HttpResponse::Ok().json(devices)
}

/// The devices that are online in each topology, and since when.
pub(super) async fn list_long(state: web::Data<ControlState>, _: NoQuery) -> HttpResponse {
    let mut devices = Vec::new();
    for running in state.all() {
        let online = running.view.directory.online().into_iter();
        devices.extend(online.map(|(device, presence)| {
            let topology = &*running.view.name;
            json!({ "device_id": device, "online": true, "since": presence.since, "topology": topology })
        }));
    }
    HttpResponse::Ok().json(devices)
}

/// Which part of a device's history is wanted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryQuery {
    /// From this second on.
    from: Option<String>,
    /// Up to this second.
    to: Option<String>,
    /// The newest so many.
    limit: Option<String>,
    /// As this topology knows the device.
    topology: Option<String>,
}

/// A number of the query, where it is given. Parsed here, because what serde says of it names no parameter.
fn number<T: FromStr>(name: &str, text: Option<&str>, what: &str) -> Result<Option<T>, ApiError> {
    let parse =
        |text: &str| text.parse().map_err(|_| ApiError::bad_request(format!("`{name}` is `{text}`; it takes {what}")));
    text.map(parse).transpose()
}

/// A device's presence, last state and history.
pub(super) async fn show(
    state: web::Data<ControlState>,
    device: web::Path<String>,
    query: web::Query<HistoryQuery>,
) -> Result<HttpResponse, ApiError> {
    let device = parse(&device)?;
    let limit = number("limit", query.limit.as_deref(), "a number of messages")?.unwrap_or(DEFAULT_HISTORY);
    if limit > MAX_HISTORY {
        return Err(ApiError::bad_request(format!(
            "limit is {limit}; at most {MAX_HISTORY} messages are given at once"
        )));
    }
    let seconds = |name, text: &Option<String>| number(name, text.as_deref(), "Unix seconds, such as 1700000000");
    let (from, to) = (seconds("from", &query.from)?.unwrap_or(0), seconds("to", &query.to)?.unwrap_or(u64::MAX));
    if from > to {
        return Err(ApiError::bad_request(format!("from ({from}) is later than to ({to})")));
    }
    let asked = match &query.topology {
        Some(name) => vec![state.get(name)?],
        None => state.all(),
    };
    let presence = presence(&asked, &device);
    let mut stored = Vec::new();
    for running in &asked {
        let Some(store) = running.view.ports.device_store() else { continue };
        let unavailable = |error: crate::ports::PortError| ApiError::unavailable(error.to_string());
        let last = store.last_state(&device).await.map_err(unavailable)?;
        let history = store.history(&device, from, to, limit).await.map_err(unavailable)?;
        if last.is_some() || !history.is_empty() {
            stored.push((&*running.view.name, last, history));
        }
    }
    if stored.len() > 1 {
        let names = stored.iter().map(|(name, ..)| *name);
        return Err(ApiError::bad_request(ask(names, "have this device in their stores")));
    }
    let (last, history) = stored.pop().map(|(_, last, history)| (last, history)).unwrap_or_default();
    let passivated = || asked.iter().any(|running| running.view.directory.is_passivated(&device));
    if presence.is_none() && last.is_none() && history.is_empty() && !passivated() {
        return Err(unknown(&device));
    }
    let message = |bytes: &bytes::Bytes| serde_json::from_slice::<Box<RawValue>>(bytes).ok();
    let state = last.map(|last| json!({ "timestamp": last.timestamp, "payload": message(&last.payload) }));
    Ok(HttpResponse::Ok().json(json!({
        "device_id": device,
        "online": presence.is_some_and(|p| p.online),
        "since": presence.map(|p| p.since),
        "state": state,
        "history": history.iter().filter_map(message).collect::<Vec<_>>(),
    })))
}

/// The member that tells a device the id of its command (`docs/formats.md`).
const COMMAND_ID: &str = "command_id";

/// How a command is to be sent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CommandQuery {
    /// How long it may wait for a device that is offline, such as `30s`.
    ttl: Option<String>,
    /// The topology that is to take it, where several could.
    topology: Option<String>,
}

/// Accepts a command: 202 once it is durable.
pub(super) async fn command(
    _page: OwnOrigin,
    state: web::Data<ControlState>,
    device: web::Path<String>,
    query: web::Query<CommandQuery>,
    body: Result<web::Bytes, actix_web::Error>,
) -> Result<HttpResponse, ApiError> {
    let device = parse(&device)?;
    let body = body.map_err(|error| ApiError::bad_body(&error))?;
    let posted = serde_json::from_slice::<Value>(&body);
    let posted = posted.map_err(|error| ApiError::bad_request(format!("the body is not JSON: {error}")))?;
    if posted.get(COMMAND_ID).is_some() {
        let detail = format!("the device is given the command's id as `{COMMAND_ID}`; give yours another name");
        return Err(ApiError::bad_request(detail));
    }
    let ttl = query.ttl.as_deref().map(parse_ttl).transpose()?;
    let Recipient { log, online } = recipient(&state.all(), query.topology.as_deref(), &device).await?;
    if !online && ttl.is_none() {
        let detail = format!("device {device} is offline; give the command a time to wait, such as ?ttl=10m");
        return Err(ApiError::conflict(detail));
    }
    let accepted_at = state.clock.now();
    let id = EventId(Ulid::from_parts(accepted_at.as_millis(), Ulid::generate().random()));
    let command = Command { id, device, body: body.clone(), accepted_at, ttl };
    log.append(command).await.map_err(|error| ApiError::unavailable(error.to_string()))?;
    Ok(HttpResponse::Accepted().json(json!({ "command_id": id })))
}

pub(super) fn parse(device: &str) -> Result<DeviceId, ApiError> {
    device.parse().map_err(|error: crate::device_id::DeviceIdError| ApiError::bad_request(error.to_string()))
}

fn parse_ttl(text: &str) -> Result<Duration, ApiError> {
    let ttl: HumanDuration = text.parse().map_err(|error| ApiError::bad_request(format!("ttl: {error}")))?;
    Ok(ttl.get())
}

fn unknown(device: &DeviceId) -> ApiError {
    ApiError::not_found(format!("device {device} is not known"))
}

fn presence(asked: &[Running], device: &DeviceId) -> Option<Presence> {
    let known: Vec<Presence> = asked.iter().filter_map(|running| running.view.directory.get(device)).collect();
    known.iter().copied().find(|presence| presence.online).or_else(|| known.first().copied())
}

#[cfg(test)]
mod tests;
