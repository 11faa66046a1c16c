//! Reads what the writer keeps: the last state and the history of a device, and its updates as they become durable.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use telemill_engine::clock::Clock;
use telemill_engine::device_id::DeviceId;
use telemill_engine::ports::{DeviceStore, LastState, PortError, Updates};

use super::Refusal;
use super::entry::{Entry, HISTORY, second_of, seconds, seconds_from};
use super::hub::Hub;
use super::page::{self, Message};
use crate::embedded::disk::{Disk, KeyRange, Read, View};

/// Messages of one second that are gathered beyond twice what is asked for, before the oldest of them go: any number of them may
/// be of one second, where a producer of its own says what time it is.
const SPARE: usize = 4_096;

/// The store as the API reads it.
pub(super) struct Devices {
    disk: Arc<Disk>,
    hub: Arc<Hub>,
    clock: Clock,
}

impl Devices {
    pub(super) fn new(disk: Arc<Disk>, hub: Arc<Hub>, clock: Clock) -> Self {
        Devices { disk, hub, clock }
    }
}

#[async_trait]
impl DeviceStore for Devices {
    async fn last_state(&self, device: &DeviceId) -> Result<Option<LastState>, PortError> {
        let device = device.clone();
        let entry = self.disk.read(move |view| Entry::read(view, &device)).await.map_err(failed)?;
        Ok(entry.map(|entry| LastState { payload: entry.payload, timestamp: entry.timestamp }))
    }

    async fn history(&self, device: &DeviceId, from: u64, to: u64, limit: usize) -> Result<Vec<Bytes>, PortError> {
        let (device, now) = (device.clone(), self.clock.now().as_secs());
        let read = self.disk.read(move |view| {
            let Some(entry) = Entry::read(view, &device)?.filter(|entry| !entry.has_expired(now)) else {
                return Ok::<_, Refusal>(Vec::new());
            };
            let from = from.max(entry.hidden_below);
            let range = match to.checked_add(1) {
                Some(behind) => seconds(&device, from, behind),
                None => seconds_from(&device, from),
            };
            newest(view, range, limit)
        });
        read.await.map_err(failed)
    }

    async fn updates(&self, device: &DeviceId) -> Result<Updates, PortError> {
        Ok(self.hub.subscribe(device))
    }
}

/// The newest messages of a range, oldest first.
fn newest(view: &View<'_>, range: KeyRange, limit: usize) -> Result<Vec<Bytes>, Refusal> {
    let mut newest = Vec::new();
    let mut rows = view.rows_back(HISTORY, range).peekable();
    while newest.len() < limit {
        let Some(row) = rows.next() else { break };
        let (key, row) = row?;
        let second = second_of(&key);
        let (mut messages, left) = (page::read(&key, row)?, limit - newest.len());
        while let Some(row) = rows.next_if(|row| row.as_ref().is_ok_and(|(key, _)| second_of(key) == second)) {
            let (key, row) = row?;
            messages.extend(page::read(&key, row)?);
            if messages.len() >= 2 * left + SPARE {
                keep_newest(&mut messages, left);
            }
        }
        keep_newest(&mut messages, left);
        newest.extend(messages.into_iter().rev().map(|(_, message)| message));
    }
    newest.reverse();
    Ok(newest)
}

/// Brings messages of one second into their order, and leaves the last of them.
fn keep_newest(messages: &mut Vec<Message>, limit: usize) {
    page::sort(messages);
    messages.drain(..messages.len().saturating_sub(limit));
}

fn failed(refusal: Refusal) -> PortError {
    PortError(refusal.to_string())
}
