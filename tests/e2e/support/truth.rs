//! What was published, and whether exactly that is in the log and in the store.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use telemill_services::wait_until;

use super::{LogRecord, Reader, Site, Store, partition_of};

/// Everything that was published to `data`, by device, in order.
pub struct Truth {
    published: BTreeMap<String, Vec<String>>,
    unfit: BTreeMap<String, Vec<String>>,
    began: u64,
    next: usize,
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970").as_secs()
}

impl Truth {
    pub fn new() -> Truth {
        Truth { published: BTreeMap::new(), unfit: BTreeMap::new(), began: now(), next: 0 }
    }

    /// The next payload of a device, noted as published: no two are equal, and their form is not what a serializer
    /// would write, so that a changed byte shows. Now and then all devices are hot for a while.
    pub fn payload(&mut self, device: &str) -> String {
        self.payload_of(device, 0)
    }

    /// The same, of about this size where it is more than a payload takes anyway.
    pub fn payload_of(&mut self, device: &str, size: usize) -> String {
        self.next += 1;
        let (n, filler) = (self.next, "x".repeat(size));
        let text = format!(r#""\u00e9 ü\t{filler}""#);
        let payload = format!(
            r#"{{ "temperature":{}.50,"n" : {n}, "Text":{text} , "list":[1.0,2e0,-0] }}"#,
            if n / 2000 % 2 == 1 { 85 } else { n % 40 }
        );
        self.note(device, &payload)
    }

    /// A payload of a device, noted as published.
    pub fn note(&mut self, device: &str, payload: &str) -> String {
        self.published.entry(device.to_owned()).or_default().push(payload.to_owned());
        payload.to_owned()
    }

    /// Something of a device that is no record, noted as published.
    pub fn unfit(&mut self, device: &str) -> String {
        self.next += 1;
        let text = format!("{{ \"n\": {}", self.next);
        self.unfit.entry(device.to_owned()).or_default().push(text.clone());
        text
    }

    /// How many were published.
    pub fn count(&self) -> usize {
        self.published.values().map(Vec::len).sum()
    }

    /// Waits until the log has as many records as were published, then asserts that it has exactly those: once each,
    /// keyed and placed by device, in the form of the contract byte by byte, in order. The messages by device.
    pub fn is_in_the_log(&self, site: &Site, partitions: i32, deadline: Duration) -> BTreeMap<String, Vec<LogRecord>> {
        let (reader, topic) = (Reader::new(&site.kafka), site.topic("data"));
        let what = format!("{} records in {topic}", self.count());
        wait_until(deadline, &what, || (reader.count(&topic) >= self.count() as i64).then_some(()));
        let mut by_device: BTreeMap<String, Vec<LogRecord>> = BTreeMap::new();
        for record in reader.all(&topic) {
            let device = record.key.clone().expect("records are keyed");
            assert_eq!(record.partition, partition_of(&device, partitions), "{record:?}");
            by_device.entry(device).or_default().push(record);
        }
        for (device, payloads) in &self.published {
            let records = by_device.get(device).map(Vec::as_slice).unwrap_or_default();
            let found: Vec<&str> = records.iter().map(LogRecord::text).collect();
            let wanted: Vec<String> = records.iter().zip(payloads).map(|(r, p)| self.message(device, p, r)).collect();
            assert!(found == wanted && found.len() == payloads.len(), "{}", difference(device, &found, payloads));
        }
        assert_eq!(by_device.len(), self.published.len(), "there are records of devices that published nothing");
        by_device
    }

    /// Waits until the dead letters are as many as what was unfit, then asserts that they are exactly that, in order.
    pub fn unfit_is_dead(&self, site: &Site, deadline: Duration) {
        let (reader, topic) = (Reader::new(&site.kafka), site.topic("data-dlq"));
        let count: usize = self.unfit.values().map(Vec::len).sum();
        wait_until(deadline, "the dead letters", || (reader.count(&topic) >= count as i64).then_some(()));
        let mut dead: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for letter in reader.all(&topic) {
            let text = letter.text().to_owned();
            dead.entry(letter.key.expect("the device is known")).or_default().push(text);
        }
        assert_eq!(dead, self.unfit);
    }

    /// The message of a record as the contract has it, from the record's own headers.
    fn message(&self, device: &str, payload: &str, record: &LogRecord) -> String {
        let received: u64 = record.header("received-at-ms").parse().expect("a number");
        let (timestamp, event_id) = (received / 1000, record.header("event-id"));
        assert!((self.began..=now()).contains(&timestamp), "{record:?}");
        assert_eq!(record.header("kind"), "data");
        format!(r#"{{"device_id":"{device}","payload":{payload},"timestamp":{timestamp},"event_id":"{event_id}"}}"#)
    }

    /// Waits until the newest of every device is in the store, then asserts that the store has for every device exactly
    /// what the log has.
    pub fn is_in_the_store(&self, site: &Site, log: &BTreeMap<String, Vec<LogRecord>>, deadline: Duration) {
        let mut store = Store::new(&site.redis);
        for (device, records) in log {
            let newest = self.published[device].last().expect("it published");
            let what = format!("the newest of {device} in Redis");
            wait_until(deadline, &what, || (store.last_state(device).get("payload") == Some(newest)).then_some(()));
            let scored = |record: &LogRecord| {
                (record.header("received-at-ms").parse::<u64>().expect("a number") / 1000, record.text().to_owned())
            };
            let history: Vec<(u64, String)> = records.iter().map(scored).collect();
            assert_eq!(store.history(device), history, "history of {device}");
            let timestamp = history.last().map(|(score, _)| score.to_string());
            assert_eq!(store.last_state(device).get("timestamp"), timestamp.as_ref());
        }
    }
}

/// Where what was found and what was published part, in few words.
fn difference(device: &str, found: &[&str], published: &[String]) -> String {
    let at = found.iter().zip(published).position(|(message, payload)| !message.contains(payload.as_str()));
    let at = at.unwrap_or(found.len().min(published.len()));
    let near = |n: usize| at.saturating_sub(2)..(at + 3).min(n);
    let (there, wanted) = (&found[near(found.len())], &published[near(published.len())]);
    let (are, were) = (found.len(), published.len());
    format!(
        "{device}: {are} records in the log, {were} published; they part at {at}: {there:#?} instead of {wanted:#?}"
    )
}
