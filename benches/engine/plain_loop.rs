//! What one would write by hand for this one job: a loop on one thread over the same kind of table, with the same
//! reading of JSON and the same compiled condition. No actors, no mailboxes, no acknowledgements, no savepoints, no
//! timers, no checkpoints: what those cost is the difference.

use bytes::Bytes;
use hashbrown::HashTable;
use telemill_engine::clock::Timestamp;
use telemill_engine::device_id::DeviceId;
use telemill_engine::record::{EventId, Kind, Record};
use telemill_engine::topology::expr::{FieldPlan, Fields, Inputs, Program, Want};

use crate::rig::{CLEAR, CONDITION};

/// A device as the loop knows it.
struct Device {
    id: DeviceId,
    first: EventId,
    first_seen: Timestamp,
    last_seen: Timestamp,
    online: bool,
    firing: bool,
    data: u64,
    hello: u64,
    last_payload: Bytes,
}

/// The loop's state.
pub struct PlainLoop {
    index: HashTable<u32>,
    devices: Vec<Device>,
    slots: Vec<Option<u32>>,
    plan: FieldPlan,
    condition: Program,
    clear: Program,
    alerts: u64,
}

impl PlainLoop {
    /// No devices yet.
    pub fn new() -> Self {
        let mut fields = Fields::new();
        let condition = Program::compile(CONDITION, Want::Bool, &mut fields).expect("a valid condition");
        let clear = Program::compile(CLEAR, Want::Bool, &mut fields).expect("a valid condition");
        PlainLoop {
            index: HashTable::new(),
            devices: Vec::new(),
            slots: Vec::new(),
            plan: fields.freeze(),
            condition,
            clear,
            alerts: 0,
        }
    }

    /// Deals with a batch and hands it on.
    pub fn batch(&mut self, records: Vec<Record>) -> Vec<Record> {
        let mut slots = std::mem::take(&mut self.slots);
        slots.clear();
        // All look-ups first: the processor fetches what they need side by side.
        slots.extend(records.iter().map(|record| self.find(&record.device)));
        for (record, slot) in records.iter().zip(&slots) {
            let slot = slot.or_else(|| self.find(&record.device)).unwrap_or_else(|| self.open(record));
            self.record(slot, record);
        }
        self.slots = slots;
        records
    }

    fn find(&self, id: &DeviceId) -> Option<u32> {
        self.index.find(id.hash64(), |slot| self.devices[*slot as usize].id == *id).copied()
    }

    fn open(&mut self, record: &Record) -> u32 {
        let slot = self.devices.len() as u32;
        self.devices.push(Device {
            id: record.device.clone(),
            first: record.id,
            first_seen: record.received_at,
            last_seen: record.received_at,
            online: true,
            firing: false,
            data: 0,
            hello: 0,
            last_payload: Bytes::new(),
        });
        let devices = &self.devices;
        self.index.insert_unique(record.device.hash64(), slot, |slot| devices[*slot as usize].id.hash64());
        slot
    }

    fn record(&mut self, slot: u32, record: &Record) {
        let device = &mut self.devices[slot as usize];
        device.last_seen = record.received_at;
        device.online = true;
        match record.kind {
            Kind::Hello => device.hello += 1,
            _ => {
                device.data += 1;
                device.last_payload = record.payload.clone();
            }
        }
        let mut fields = self.plan.slots();
        if self.plan.extract(&record.payload, &mut fields).is_err() {
            return;
        }
        let inputs = Inputs {
            device_id: device.id.as_str(),
            kind: record.kind.as_str(),
            timestamp: record.received_at.as_secs() as i64,
            slots: fields.as_slice(),
        };
        let firing = match device.firing {
            true => self.clear.eval_bool(&inputs).is_none_or(|clear| !clear),
            false => self.condition.eval_bool(&inputs).unwrap_or(false),
        };
        if firing != device.firing {
            device.firing = firing;
            self.alerts += 1;
        }
    }

    /// Something that depends on all that was done.
    pub fn digest(&self) -> u64 {
        let of = |d: &Device| d.data + d.hello + d.first.0.timestamp_ms() + d.first_seen.0 + u64::from(d.online);
        self.devices.iter().map(of).fold(self.alerts, u64::wrapping_add)
    }
}
