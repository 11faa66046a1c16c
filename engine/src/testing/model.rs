//! What the keyed stage must have made of a partition's log, worked out without an engine.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::clock::LogTime;
use crate::device_id::DeviceId;
use crate::position::Partition;
use crate::record::{Kind, Record};

use super::fakes::{OFFLINE_AFTER, Transition, TransitionKind};
use super::world::{Poison, World};

#[derive(Default)]
struct Device {
    count: u64,
    last: u64,
    online: bool,
    made: Vec<Transition>,
}

#[derive(Default)]
struct Shard {
    now: u64,
    alive: u64,
    last_mark: Option<u64>,
    cause: Option<(u128, i64)>,
    devices: BTreeMap<DeviceId, Device>,
}

/// The transitions of every device of a partition, derived from the log alone.
pub(super) fn transitions(world: &World, partition: Partition) -> BTreeMap<DeviceId, Vec<Transition>> {
    let mut shard = Shard::default();
    for record in merged(world, partition) {
        match record.kind {
            Kind::Mark => shard.mark(&record),
            _ => shard.record(&record),
        }
    }
    shard.devices.into_iter().map(|(device, state)| (device, state.made)).filter(|(_, made)| !made.is_empty()).collect()
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
        if Poison::of(&record.payload) == Poison::Keyed {
            return;
        }
        let (now, cause) = (self.now, place(record));
        let device = self.devices.entry(record.device.clone()).or_default();
        if !device.online {
            device.online = true;
            device.make(TransitionKind::Online, now, cause);
        }
        device.count += 1;
        device.last = now;
        if device.count.is_multiple_of(3) {
            device.make(TransitionKind::Third, now, cause);
        }
    }

    fn timers(&mut self) {
        let (now, cause) = (self.now, self.cause);
        for device in self.devices.values_mut() {
            if device.online && now >= device.last + OFFLINE_AFTER.as_millis() as u64 {
                device.online = false;
                device.make(TransitionKind::Offline, now, cause);
            }
        }
    }
}

impl Device {
    fn make(&mut self, kind: TransitionKind, now: u64, cause: Option<(u128, i64)>) {
        let sequence = self.made.len() as u64 + 1;
        self.made.push(Transition { sequence, kind, log_time: LogTime(now), cause });
    }
}
