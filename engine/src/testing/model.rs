//! What the keyed stage must have made of a partition's log, worked out without an engine.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::clock::LogTime;
use crate::device_id::DeviceId;
use crate::position::Partition;
use crate::record::{Kind, Record};
use crate::registry::SessionLimits;

use super::fakes::{OFFLINE_AFTER, Transition, TransitionKind, incarnation};
use super::world::{Poison, World};

#[derive(Default)]
struct Device {
    incarnation: u64,
    /// When the last record came, fit or not.
    seen: u64,
    count: u64,
    last: u64,
    online: bool,
    sequence: u64,
}

#[derive(Default)]
struct Shard {
    now: u64,
    alive: u64,
    last_mark: Option<u64>,
    cause: Option<(u128, i64)>,
    most: usize,
    forget_after: Option<u64>,
    devices: BTreeMap<DeviceId, Device>,
    made: BTreeMap<DeviceId, Vec<Transition>>,
}

/// The transitions of every device of a partition, derived from the log alone.
pub(super) fn transitions(
    world: &World,
    partition: Partition,
    limits: &SessionLimits,
) -> BTreeMap<DeviceId, Vec<Transition>> {
    let most = (limits.max_sessions / world.log.partitions() as usize).max(1);
    let forget_after = limits.forget_after.map(|after| after.as_millis() as u64);
    let mut shard = Shard { most, forget_after, ..Shard::default() };
    for record in merged(world, partition) {
        match record.kind {
            Kind::Mark => shard.mark(&record),
            _ => shard.record(&record),
        }
    }
    shard.made
}

/// Data and marks in the order in which a source gives them out.
fn merged(world: &World, partition: Partition) -> Vec<Record> {
    let mut data = world.log.all("data", partition).into_iter().peekable();
    let mut records = Vec::new();
    for (_, mark) in world.log.all("marks", partition) {
        let body: Value = serde_json::from_slice(&mark.payload).unwrap_or_default();
        let upto = body["delivered"]["data"].as_i64().unwrap_or(-1);
        while let Some((_, record)) = data.next_if(|(offset, _)| *offset <= upto) {
            records.push(record);
        }
        records.push(mark);
    }
    records.extend(data.map(|(_, record)| record));
    records
}

fn place(record: &Record) -> Option<(u128, i64)> {
    record.position.map(|p| (p.topic.0.as_u128(), p.offset))
}

impl Shard {
    fn mark(&mut self, record: &Record) {
        let body: Value = serde_json::from_slice(&record.payload).unwrap_or_default();
        let (since, time) = (body["since"].as_u64().unwrap_or(0), body["time"].as_u64().unwrap_or(0));
        match self.last_mark {
            None => self.alive = self.now + (time - since),
            Some(last) => self.alive += time.saturating_sub(since.max(last)),
        }
        self.last_mark = Some(self.last_mark.map_or(time, |last| last.max(time)));
        self.now = self.now.max(self.alive);
        self.cause = place(record);
        self.timers();
    }

    fn record(&mut self, record: &Record) {
        if let Some(last) = self.last_mark {
            self.now = self.now.max(self.alive + record.received_at.0.saturating_sub(last).min(1000));
        }
        self.timers();
        let (now, cause) = (self.now, place(record));
        if !self.devices.contains_key(&record.device) {
            while self.devices.len() >= self.most {
                self.forget_longest_silent(cause);
            }
        }
        let device = self
            .devices
            .entry(record.device.clone())
            .or_insert_with(|| Device { incarnation: incarnation(record.id), ..Device::default() });
        device.seen = now;
        if Poison::of(&record.payload) == Poison::Keyed {
            return;
        }
        let mut kinds = Vec::new();
        if !std::mem::replace(&mut device.online, true) {
            kinds.push(TransitionKind::Online);
        }
        device.count += 1;
        device.last = now;
        if device.count.is_multiple_of(3) {
            kinds.push(TransitionKind::Third);
        }
        kinds.into_iter().for_each(|kind| self.make(&record.device, kind, cause));
    }

    fn timers(&mut self) {
        let silent = |d: &Device| d.online && self.now >= d.last + OFFLINE_AFTER.as_millis() as u64;
        let offline: Vec<_> = self.devices.iter().filter(|(_, d)| silent(d)).map(|(name, _)| name.clone()).collect();
        for name in offline {
            self.make(&name, TransitionKind::Offline, self.cause);
            self.devices.entry(name).or_default().online = false;
        }
        let Some(after) = self.forget_after else { return };
        while self.devices.values().any(|d| self.now >= d.seen + after) {
            self.forget_longest_silent(self.cause);
        }
    }

    fn forget_longest_silent(&mut self, cause: Option<(u128, i64)>) {
        let longest = self.devices.iter().min_by_key(|(name, d)| (d.seen, *name)).map(|(name, _)| name.clone());
        let Some(name) = longest else { return };
        if self.devices[&name].online {
            self.make(&name, TransitionKind::Forgotten, cause);
        }
        self.devices.remove(&name);
    }

    fn make(&mut self, name: &DeviceId, kind: TransitionKind, cause: Option<(u128, i64)>) {
        let Some(device) = self.devices.get_mut(name) else { return };
        device.sequence += 1;
        let Device { incarnation, sequence, .. } = *device;
        let made = Transition { incarnation, sequence, kind, log_time: LogTime(self.now), cause };
        self.made.entry(name.clone()).or_default().push(made);
    }
}
