//! What the API reads: the last state, and the history in order of time and identity.

use telemill_services::unique_name;

use super::{Harness, id, open, state};
use crate::conformance::records::{NOW, TOPIC, batch, messages, record};

pub(crate) async fn devices_are_read_back<H: Harness>() {
    let harness = H::start().await;
    let name = unique_name("dev");
    let mut store = open(&harness, &unique_name("reads"), 1).await;
    assert_eq!(store.last_state(&name).await, None);
    assert_eq!(store.history(&name).await.len(), 0);

    // The payloads fall, so that the order of bytes is the reverse of the order of identity.
    let payloads = ["9", "8", "7", "6", "5", "4"];
    let at = |n: usize| NOW + [0, 1, 1, 1, 1, 2][n];
    let record_of = |(n, payload): (usize, &&str)| record(&name, TOPIC, n as i64, at(n), payload);
    let records: Vec<_> = payloads.iter().enumerate().map(record_of).collect();
    // Devices whose names lie next to it.
    let beside = [format!("{name}0"), name[..name.len() - 1].to_owned()];
    let others = beside.iter().zip(20..).map(|(device, offset)| record(device, TOPIC, offset, NOW + 1, "0"));
    store.deliver(&batch(&[], records.iter().cloned().chain(others).collect())).await;

    assert_eq!(store.last_state(&name).await, state("4", NOW + 2));
    let check = async |from, to, limit, expect: std::ops::Range<usize>| {
        let read = store.devices.history(&id(&name), from, to, limit).await.unwrap();
        assert_eq!(read, messages(&records[expect]), "{from}..={to}, {limit}");
    };
    check(0, u64::MAX, 100, 0..6).await;
    check(NOW + 1, NOW + 1, 100, 1..5).await;
    check(NOW, NOW + 2, 3, 3..6).await;
    check(NOW, NOW + 1, 2, 3..5).await;
    check(NOW, NOW + 2, 6, 0..6).await;
    check(NOW, NOW + 2, 0, 0..0).await;
    check(NOW + 2, NOW, 9, 0..0).await;
    check(NOW + 3, u64::MAX, 9, 0..0).await;
}
