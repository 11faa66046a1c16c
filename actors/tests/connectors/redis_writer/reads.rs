//! What the API reads: the last state, and the history in order of time and identity.

use std::sync::Arc;

use telemill_engine::device_id::DeviceId;
use telemill_engine::ports::{DeviceStore, LastState};
use telemill_services::{Services, unique_name};

use super::deliver;
use crate::redis_support::{DEADLINE, TOPIC, batch, build_writer, context, message, record};

const NOW: u64 = 1_700_000_000;

#[tokio::test]
async fn devices_are_read_back() {
    let url = Services::shared().redis_url();
    let name = unique_name("dev");
    let device: DeviceId = name.parse().unwrap();
    let cx = context(url, &unique_name("reads"), 1);
    let mut writer = build_writer(url, DEADLINE, &cx).await.unwrap();
    let store: Arc<dyn DeviceStore> = cx.ports.device_store().expect("the writer offers its store");
    assert_eq!(store.last_state(&device).await.unwrap(), None);
    assert_eq!(store.history(&device, 0, u64::MAX, 10).await.unwrap().len(), 0);

    // The payloads fall, so that the order of bytes is the reverse of the order of identity.
    let payloads = ["9", "8", "7", "6", "5", "4"];
    let at = |n: usize| NOW + [0, 1, 1, 1, 1, 2][n];
    let record_of = |(n, payload): (usize, &&str)| record(&name, TOPIC, n as i64, at(n), payload);
    let records: Vec<_> = payloads.iter().enumerate().map(record_of).collect();
    deliver(&mut writer, &batch(&[], records.clone())).await;

    let state = store.last_state(&device).await.unwrap();
    assert_eq!(state, Some(LastState { payload: "4".into(), timestamp: NOW + 2 }));
    let check = async |from, to, limit, expect: std::ops::Range<usize>| {
        let read = store.history(&device, from, to, limit).await.unwrap();
        let expect: Vec<_> = records[expect].iter().map(message).collect();
        assert_eq!(read, expect, "{from}..={to}, {limit}");
    };
    check(0, u64::MAX, 100, 0..6).await;
    check(NOW + 1, NOW + 1, 100, 1..5).await;
    check(NOW, NOW + 2, 3, 3..6).await;
    check(NOW, NOW + 1, 2, 3..5).await;
    check(NOW, NOW + 2, 6, 0..6).await;
    check(NOW, NOW + 2, 0, 0..0).await;
    check(NOW + 2, NOW, 9, 0..0).await;
}
