//! The dead letters of the embedded log, read from the disk. Their bodies may be anything, so only what stands before
//! them is read.

use std::collections::BTreeMap;
use std::path::Path;

use crate::support::{frames, parts};

/// The reasons of all dead letters in a data directory that no engine has, by device, sorted.
pub fn reasons(data: &Path) -> BTreeMap<String, Vec<String>> {
    let mut by_device: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for frame in frames(data, "iot-data-dlq") {
        let (device, mut headers, _) = parts(&frame);
        let reason = headers.remove("dead-reason");
        let reason = reason.unwrap_or_else(|| panic!("a dead letter gives no reason: {headers:?}"));
        by_device.entry(device).or_default().push(reason);
    }
    by_device.values_mut().for_each(|reasons| reasons.sort());
    by_device
}
