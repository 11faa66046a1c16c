//! Records of the embedded log, read without the code that wrote them.

use std::collections::BTreeMap;

use serde_json::Value;

/// Running numbers of messages and their event ids.
pub type Numbers = Vec<(u64, String)>;

/// A record as it is in the embedded log (`docs/formats.md`, "Embedded log").
#[derive(Clone, Debug, PartialEq)]
pub struct LocalRecord {
    pub headers: BTreeMap<String, String>,
    pub message: Value,
}

impl LocalRecord {
    /// Key and record.
    pub fn read(frame: &[u8]) -> (String, LocalRecord) {
        let mut rest = frame;
        let mut take = |count: usize| rest.split_off(..count).expect("the record is whole");
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("it is UTF-8");
        assert_eq!(take(9)[0], 1, "the version");
        let length = number(take(2));
        let key = text(take(length));
        let mut headers = BTreeMap::new();
        for _ in 0..number(take(2)) {
            let length = number(take(2));
            let name = text(take(length));
            let length = number(take(4));
            headers.insert(name, text(take(length)));
        }
        (key, LocalRecord { headers, message: serde_json::from_slice(rest).expect("a message is JSON") })
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no header {name} on {self:?}"))
    }

    /// The running number that the device gave it.
    pub fn seq(&self) -> u64 {
        self.message["payload"]["seq"].as_u64().expect("it is numbered")
    }
}
