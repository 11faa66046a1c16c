//! Records of the embedded log, read without the code that wrote them.

use std::collections::BTreeMap;

use serde_json::Value;
use ulid::Ulid;

/// Running numbers of messages and their event ids.
pub type Numbers = Vec<(u64, String)>;

/// The names for which a number stands.
const NAMES: [&str; 18] = [
    "event-id",
    "received-at-ms",
    "kind",
    "slot",
    "slot-session",
    "delivery",
    "packet-id",
    "payload-hash",
    "dup",
    "will",
    "traceparent",
    "dead-reason",
    "dead-detail",
    "dead-topology",
    "dead-stage",
    "dead-attempts",
    "dead-source",
    "dead-at-ms",
];

/// The records in a row of the embedded log (`docs/formats.md`, "Embedded log").
pub fn page(row: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = row;
    let mut take = |count: usize| rest.split_off(..count).expect("the page is whole");
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
    assert_eq!(take(9)[0], 3, "the version");
    let count = number(take(4));
    let records = (0..count).map(|_| {
        let length = number(take(4));
        take(length).to_vec()
    });
    let records = records.collect();
    assert!(rest.is_empty(), "behind the last record");
    records
}

/// Key, headers and value of a record in a page; its stamp in the words that a header would have.
pub fn parts(frame: &[u8]) -> (String, BTreeMap<String, String>, &[u8]) {
    let mut rest = frame;
    let mut take = |count: usize| rest.split_off(..count).expect("the record is whole");
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("it is UTF-8");
    let length = number(take(2));
    let key = text(take(length));
    let wide = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u128::from(*byte));
    let mut headers = BTreeMap::new();
    let mut set = |name: &str, value: String| headers.insert(name.to_owned(), value);
    let has = number(take(1));
    if has & 1 != 0 {
        set("event-id", Ulid(wide(take(16))).to_string());
        set("received-at-ms", number(take(8)).to_string());
        let length = number(take(1));
        set("kind", text(take(length)));
    }
    if has & 2 != 0 {
        set("slot", number(take(2)).to_string());
        set("slot-session", Ulid(wide(take(16))).to_string());
        set("delivery", number(take(8)).to_string());
        set("packet-id", number(take(2)).to_string());
        set("payload-hash", format!("{:016x}", wide(take(8))));
    }
    for (bit, name) in [(4, "dup"), (8, "will")] {
        if has & bit != 0 {
            set(name, "1".to_owned());
        }
    }
    for _ in 0..number(take(2)) {
        let name = match number(take(1)) {
            0 => {
                let length = number(take(2));
                text(take(length))
            }
            place => NAMES[place - 1].to_owned(),
        };
        let length = match number(take(1)) {
            255 => number(take(4)),
            length => length,
        };
        set(&name, text(take(length)));
    }
    (key, headers, rest)
}

/// A record of the embedded log whose value is a message.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalRecord {
    pub headers: BTreeMap<String, String>,
    pub message: Value,
}

impl LocalRecord {
    /// Key and record.
    pub fn read(frame: &[u8]) -> (String, LocalRecord) {
        let (key, headers, value) = parts(frame);
        (key, LocalRecord { headers, message: serde_json::from_slice(value).expect("a message is JSON") })
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no header {name} on {self:?}"))
    }

    /// The running number that the device gave it.
    pub fn seq(&self) -> u64 {
        self.message["payload"]["seq"].as_u64().expect("it is numbered")
    }

    /// Asserts that a device's records are all there, each for the first time in the order of sending, and that one that is
    /// there again was sent again and is marked so. `sendings`: how often each was sent; all of them were acknowledged.
    pub fn are_in_order(device: &str, sendings: &[u32], records: &[LocalRecord]) {
        let mut seen: Vec<(&LocalRecord, u32)> = Vec::new();
        for record in records {
            let seq = record.seq();
            let times = *sendings.get(seq as usize - 1).unwrap_or_else(|| panic!("{device} never sent {seq}"));
            assert!(times > 1 || !record.headers.contains_key("dup"), "{device} sent {seq} once: {record:?}");
            let Some((first, there)) = seen.get_mut(seq as usize - 1) else {
                assert_eq!(seq, seen.len() as u64 + 1, "{device}: the next is missing or out of order");
                seen.push((record, 1));
                continue;
            };
            *there += 1;
            assert!(*there <= times, "{device} sent {seq} {times} times, it is there more often");
            assert_eq!(record.header("dup"), "1");
            for same in ["packet-id", "payload-hash"] {
                assert_eq!(record.header(same), first.header(same), "{device}: {seq}");
            }
            assert_eq!(record.message["payload"], first.message["payload"]);
            assert_ne!(record.header("event-id"), first.header("event-id"), "{device}: {seq} was taken twice");
        }
        assert_eq!(seen.len(), sendings.len(), "{device}: the last are missing");
    }
}
