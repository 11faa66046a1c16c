//! The dead letters of the embedded log, read from the disk. Their bodies may be anything, so only what stands before
//! them is read.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use telemill_actors::embedded::disk::{Disk, DiskError, KeyRange, Read, Space};

/// The reasons of all dead letters in a data directory that no engine has, by device, sorted.
pub fn reasons(data: &Path) -> BTreeMap<String, Vec<String>> {
    let frames = async {
        let disk = Disk::open(data, 0).await?;
        disk.read(|view| {
            let entry = view.get(Space("topics"), b"iot-data-dlq")?.expect("the topic is there");
            let entry: Value = serde_json::from_slice(&entry).expect("a topic is JSON");
            let number = u32::try_from(entry["number"].as_u64().expect("a number")).expect("of 32 bits");
            view.rows(Space("log"), KeyRange::prefix(number.to_be_bytes().to_vec())).collect::<Result<Vec<_>, _>>()
        })
        .await
    };
    let frames: Result<_, DiskError> = tokio::runtime::Runtime::new().expect("a runtime").block_on(frames);
    let mut by_device: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (_, frame) in frames.expect("the directory can be read") {
        let (device, reason) = read(&frame);
        by_device.entry(device).or_default().push(reason);
    }
    by_device.values_mut().for_each(|reasons| reasons.sort());
    by_device
}

/// Key and reason of a record as it is in the embedded log (`docs/formats.md`, "Embedded log").
fn read(frame: &[u8]) -> (String, String) {
    let mut rest = frame;
    let mut take = |count: usize| rest.split_off(..count).expect("the record is whole");
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("it is UTF-8");
    assert_eq!(take(9)[0], 1, "the version");
    let length = number(take(2));
    let device = text(take(length));
    let mut headers = BTreeMap::new();
    for _ in 0..number(take(2)) {
        let length = number(take(2));
        let name = text(take(length));
        let length = number(take(4));
        headers.insert(name, text(take(length)));
    }
    let reason = headers.remove("dead-reason");
    (device, reason.unwrap_or_else(|| panic!("a dead letter gives no reason: {headers:?}")))
}
