//! The devices and what they say: the same for everyone who is measured.

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use telemill_engine::clock::Timestamp;
use telemill_engine::device_id::DeviceId;
use telemill_engine::envelope;
use telemill_engine::position::{Position, TopicId};
use telemill_engine::record::{EventId, Kind, Record};
use ulid::Ulid;
use uuid::Uuid;

/// Records in a batch: what a stage takes at once unless its topology says otherwise.
pub const BATCH: usize = 512;

/// When the log begins.
const START_MS: u64 = 1_700_000_000_000;

/// Records that the fleet sends in a millisecond of the log's time.
const RECORDS_PER_MS: usize = 1000;

const TOPIC: TopicId = TopicId(Uuid::from_u128(1));
const MARKS: TopicId = TopicId(Uuid::from_u128(2));

/// Devices that send in no order.
pub struct Fleet {
    devices: Vec<DeviceId>,
    random: StdRng,
    sent: usize,
    marks: usize,
}

impl Fleet {
    /// So many devices; two fleets of one size say the same.
    pub fn new(devices: usize) -> Self {
        Fleet { devices: (0..devices).map(device).collect(), random: StdRng::seed_from_u64(7), sent: 0, marks: 0 }
    }

    /// Every device once, so that all are known.
    pub fn roll_call(&mut self) -> Vec<Vec<Record>> {
        let devices = std::mem::take(&mut self.devices);
        let batches = devices.chunks(BATCH).map(|chunk| chunk.iter().map(|d| self.data(d.clone())).collect()).collect();
        self.devices = devices;
        batches
    }

    /// The next so many batches.
    pub fn batches(&mut self, count: usize) -> Vec<Vec<Record>> {
        let batch = |fleet: &mut Fleet| {
            let next = |fleet: &mut Fleet| {
                let device = fleet.random.random_range(0..fleet.devices.len());
                let device = fleet.devices[device].clone();
                fleet.data(device)
            };
            (0..BATCH).map(|_| next(fleet)).collect()
        };
        (0..count).map(|_| batch(self)).collect()
    }

    /// A mark up to what was sent: the ingress was alive all the time.
    pub fn mark(&mut self) -> Record {
        let now = self.now();
        let since = START_MS;
        let body = format!(
            r#"{{"v":1,"slot":0,"slot_session":"{}","since":{since},"time":{},"delivered":{{"iot-data":{}}}}}"#,
            Ulid::nil(),
            now.0,
            self.sent
        );
        let slot = DeviceId::new(b"slot-0").expect("within the alphabet");
        let mut mark = Record::new(event_id(now, self.sent), slot, Kind::Mark, body.into(), now);
        self.marks += 1;
        mark.position = Some(Position { topic: MARKS, partition: 0, offset: self.marks as i64, output: 0 });
        mark
    }

    fn now(&self) -> Timestamp {
        Timestamp(START_MS + (self.sent / RECORDS_PER_MS) as u64)
    }

    /// A reading, as a source gives it: a message of its own, the payload a slice of it.
    fn data(&mut self, device: DeviceId) -> Record {
        let (now, number) = (self.now(), self.sent);
        self.sent += 1;
        let temperature = self.random.random_range(1500..7500);
        let payload = format!(
            r#"{{"humidity":48.25,"pressure":1013.25,"temperature":{}.{:02},"battery":87,"status":"ok","site":"plant-7/line-2/press"}}"#,
            temperature / 100,
            temperature % 100
        );
        let id = event_id(now, number);
        let mut message = Vec::new();
        envelope::write(&mut message, &device, payload.as_bytes(), now, id);
        let message = Bytes::from(message);
        let read = envelope::read(&message, true).expect("its own form");
        let mut record = Record::new(id, device, Kind::Data, read.payload, now);
        record.message = Some(message);
        record.position = Some(Position { topic: TOPIC, partition: 0, offset: number as i64, output: 0 });
        record
    }
}

/// A keep-alive of each device, in batches.
pub fn keep_alives(devices: usize) -> impl Iterator<Item = Vec<Record>> {
    let hello = |number: usize| {
        let now = Timestamp(START_MS + (number / RECORDS_PER_MS) as u64);
        let mut record = Record::new(event_id(now, number), device(number), Kind::Hello, Bytes::new(), now);
        record.position = Some(Position { topic: TOPIC, partition: 0, offset: number as i64, output: 0 });
        record
    };
    (0..devices).step_by(BATCH).map(move |from| (from..devices.min(from + BATCH)).map(hello).collect())
}

/// The name of a device: as long as such names are.
fn device(number: usize) -> DeviceId {
    DeviceId::new(format!("device-{number:07}").as_bytes()).expect("within the alphabet")
}

fn event_id(now: Timestamp, number: usize) -> EventId {
    EventId(Ulid::from_parts(now.0, number as u128))
}
