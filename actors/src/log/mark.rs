//! Marks on the wire: proofs that a slot's broker session was alive (`docs/formats.md`, "Time").

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use ulid::Ulid;

/// The version of [`Mark`]'s form.
pub const MARK_VERSION: u8 = 1;

/// A mark as the ingress emits it: the payload of a record of kind `mark`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alive {
    /// The ingress slot.
    pub slot: u16,
    /// The incarnation of its broker session.
    pub slot_session: Ulid,
    /// From when up to `time` the session was alive without a break, Unix milliseconds.
    pub since: u64,
    /// When the mark was emitted, Unix milliseconds.
    pub time: u64,
}

/// A mark as it stands in one partition of the marks' topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// [`MARK_VERSION`].
    pub v: u8,
    /// What the ingress said.
    #[serde(flatten)]
    pub alive: Alive,
    /// The last offset, in this partition, that was delivered to each topic before the mark.
    pub delivered: BTreeMap<String, i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_written_form_is_fixed() {
        let emitted = r#"{"slot":0,"slot_session":"00000000070000000000000009","since":1000,"time":2000}"#;
        let alive: Alive = serde_json::from_str(emitted).unwrap();
        let delivered = BTreeMap::from([("iot-data".to_owned(), 41), ("iot-hello".to_owned(), 7)]);
        let mark = Mark { v: MARK_VERSION, alive, delivered };
        let written = serde_json::to_string(&mark).unwrap();
        assert_eq!(
            written,
            r#"{"v":1,"slot":0,"slot_session":"00000000070000000000000009","since":1000,"time":2000,"delivered":{"iot-data":41,"iot-hello":7}}"#
        );
        assert_eq!(serde_json::from_str::<Mark>(&written).unwrap(), mark);
    }
}
