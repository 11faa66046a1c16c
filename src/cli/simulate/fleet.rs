//! The devices and what they say: the same for the same seed, whatever the broker does.
//!
//! Each device has random numbers of its own, so its records depend on the seed, its number and their running number
//! alone. `{{now}}` is the one value that differs between two runs.

use super::random::Random;
use super::template::{Template, Values};

/// Room temperature, around which devices wander.
const COOL: f64 = 22.0;
/// A hot device's temperature rises by this much a record …
const HEATING: f64 = 5.0;
/// … until it stays between these two, above 80.
const HOT: (f64, f64) = (82.0, 88.0);

/// What the fleet is.
#[derive(Debug)]
pub(super) struct Traits {
    pub(super) devices: u32,
    pub(super) seed: u64,
    pub(super) template: Template,
    /// A device is called this and its number, from 1.
    pub(super) device_prefix: String,
    /// Devices publish to `{topic_prefix}/{device_id}/data` and `…/hello`.
    pub(super) topic_prefix: String,
    /// The last so many devices get hot.
    pub(super) hot: u32,
    /// So many of a hundred records are malformed.
    pub(super) malformed: f64,
    /// So many of a hundred records are sent twice.
    pub(super) duplicate: f64,
}

/// The devices.
pub(super) struct Fleet {
    traits: Traits,
    devices: Vec<Device>,
}

struct Device {
    random: Random,
    seq: u64,
    temperature: f64,
}

/// One record of a device.
#[derive(Debug, PartialEq)]
pub(super) struct Data {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    /// Whether the payload is not what a pipeline can take.
    pub(super) malformed: bool,
    /// Whether the device sends it twice.
    pub(super) twice: bool,
}

impl Fleet {
    pub(super) fn new(traits: Traits) -> Self {
        let device = |index: u32| {
            let mut random = Random::new(traits.seed, index.into());
            let temperature = COOL + random.between(-2.0, 2.0);
            Device { random, seq: 0, temperature }
        };
        Fleet { devices: (0..traits.devices).map(device).collect(), traits }
    }

    /// The next record of a device (its index, from 0). `now_ms` is the Unix time in milliseconds.
    pub(super) fn data(&mut self, index: u32, now_ms: u64) -> Data {
        let is_hot = index >= self.traits.devices - self.traits.hot;
        let device_id = self.device_id(index);
        let topic = self.topic(&device_id, "data");
        let device = &mut self.devices[index as usize];
        device.seq += 1;
        device.temperature = next_temperature(device.temperature, is_hot, &mut device.random);
        let values = Values { device_id: &device_id, seq: device.seq, temperature: device.temperature, now_ms };
        let payload = self.traits.template.render(&values, &mut device.random).into_bytes();
        let malformed = device.random.chance(self.traits.malformed);
        let twice = device.random.chance(self.traits.duplicate);
        let payload = if malformed { spoil(payload, &mut device.random) } else { payload };
        Data { topic, payload, malformed, twice }
    }

    /// Where a device says hello.
    pub(super) fn hello(&self, index: u32) -> String {
        self.topic(&self.device_id(index), "hello")
    }

    fn device_id(&self, index: u32) -> String {
        format!("{}{}", self.traits.device_prefix, u64::from(index) + 1)
    }

    fn topic(&self, device_id: &str, channel: &str) -> String {
        format!("{}/{device_id}/{channel}", self.traits.topic_prefix)
    }
}

fn next_temperature(last: f64, is_hot: bool, random: &mut Random) -> f64 {
    match is_hot {
        true if last + HEATING < HOT.0 => last + HEATING,
        true => random.between(HOT.0, HOT.1),
        false => last + (COOL - last) * 0.1 + random.between(-0.5, 0.5),
    }
}

/// What broken devices send, and a broker lets through.
fn spoil(mut payload: Vec<u8>, random: &mut Random) -> Vec<u8> {
    match random.whole(0, 3) {
        // Cut off in transit.
        0 => {
            payload.truncate(payload.len() / 2);
            // Half of `{"a":1}` is no JSON, half of `1234` is.
            payload.push(b'{');
            payload
        }
        1 => Vec::new(),
        2 => b"temperature=21.5".to_vec(),
        // Not UTF-8.
        _ => vec![b'"', 0xff, 0xfe, b'"'],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traits() -> Traits {
        Traits {
            devices: 3,
            seed: 7,
            template: Template::parse(r#"{"n":{{seq}},"t":{{temperature}},"r":{{rand 0 1000000}}}"#).unwrap(),
            device_prefix: "device-".to_owned(),
            topic_prefix: "devices".to_owned(),
            hot: 0,
            malformed: 0.0,
            duplicate: 0.0,
        }
    }

    fn temperature(data: &Data) -> f64 {
        serde_json::from_slice::<serde_json::Value>(&data.payload).unwrap()["t"].as_f64().unwrap()
    }

    #[test]
    fn topics_name_the_device() {
        let mut fleet = Fleet::new(traits());
        assert_eq!(fleet.data(0, 0).topic, "devices/device-1/data");
        assert_eq!(fleet.hello(2), "devices/device-3/hello");
    }

    #[test]
    fn the_same_seed_says_the_same_in_whatever_order_devices_come() {
        let mut one = Fleet::new(traits());
        let mut other = Fleet::new(traits());
        let first: Vec<Data> = [0, 1, 0, 1].map(|device| one.data(device, 0)).into();
        let second: Vec<Data> = [1, 1, 0, 0].map(|device| other.data(device, 0)).into();
        assert_eq!(first[0], second[2]);
        assert_eq!(first[2], second[3]);
        assert_eq!([&first[1], &first[3]], [&second[0], &second[1]]);
        assert_ne!(first[0].payload, first[1].payload);
        let mut third = Fleet::new(Traits { seed: 8, ..traits() });
        assert_ne!(third.data(0, 0), first[0]);
    }

    #[test]
    fn hot_devices_rise_above_eighty_and_stay_and_others_do_not() {
        let mut fleet = Fleet::new(Traits { hot: 1, ..traits() });
        let cool: Vec<f64> = (0..500).map(|_| temperature(&fleet.data(1, 0))).collect();
        assert!(cool.iter().all(|t| (15.0..30.0).contains(t)), "{cool:?}");
        let hot: Vec<f64> = (0..500).map(|_| temperature(&fleet.data(2, 0))).collect();
        assert!(hot[0] < 30.0);
        let rise = hot.iter().position(|t| *t > 80.0).unwrap();
        assert!(rise < 20 && hot[rise..].iter().all(|t| (80.0..90.0).contains(t)), "{hot:?}");
    }

    #[test]
    fn malformed_records_are_what_no_pipeline_takes_and_as_many_as_asked_for() {
        let mut fleet = Fleet::new(Traits { malformed: 30.0, duplicate: 10.0, ..traits() });
        let records: Vec<Data> = (0..3000).map(|n| fleet.data(n % 3, 0)).collect();
        for record in &records {
            let is_json = serde_json::from_slice::<serde_json::Value>(&record.payload).is_ok();
            assert_eq!(is_json, !record.malformed, "{record:?}");
        }
        let malformed = records.iter().filter(|r| r.malformed).count();
        assert!((800..1000).contains(&malformed), "{malformed}");
        let twice = records.iter().filter(|r| r.twice).count();
        assert!((200..400).contains(&twice), "{twice}");
    }
}
