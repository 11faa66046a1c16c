//! An engine that takes nothing: what is held is bounded, nothing is lost, and nobody is sent away for it.

use telemill_engine::record::{Kind, Record};
use telemill_engine::source::SourceBatch;

use super::device::{Device, Version, WINDOW};
use super::marks::TimeLine;
use super::{Harness, nothing_comes_again, owed, serving};
use crate::mqtt_support::soon;

/// What the device that knows no window wants to be rid of: far more than may get in.
const FLOOD: usize = 3000;

/// So many pings of a device with a keep-alive of one second take longer than it may be silent.
const PINGS: usize = 6;

/// A kibibyte.
fn payload(number: usize) -> String {
    format!("\"{number:01022}\"")
}

fn of<'r>(records: &'r [Record], device: &str) -> Vec<&'r [u8]> {
    records.iter().filter(|record| record.device.as_str() == device).map(|record| &record.payload[..]).collect()
}

/// Acknowledgements are held back, and that is what slows devices; pings are answered. When the engine goes on, so does
/// all else, on the connections of before.
pub(crate) async fn an_engine_that_takes_nothing_is_waited_for<H: Harness>() {
    let (harness, mut ingress) = serving::<H>().await;
    let mut flooding = Device::connect(&harness.address(), "flood", Version::V4, 1).await;
    let mut careful = Device::connect(&harness.address(), "careful", Version::V5, 1).await;
    let [flood, care] = ["flood", "careful"].map(|device| harness.topic(device, "data"));
    for number in 0..WINDOW {
        careful.publish(&care, payload(number)).await;
    }
    let publishing = tokio::spawn(async move {
        for number in 0..FLOOD {
            flooding.publish(&flood, payload(number)).await;
        }
        flooding
    });
    careful.pings(PINGS).await;
    careful.is_acknowledged(owed::<H>(WINDOW, 0));

    // All that it gives out, while the engine acknowledges nothing of it.
    let (mut records, mut line, mut last) = (Vec::new(), TimeLine::default(), 0);
    let mut see = |records: &mut Vec<Record>, batch: SourceBatch| {
        assert!(batch.rejected.is_empty(), "{:?}", batch.rejected);
        line.follow(&batch.records);
        records.extend(batch.records.into_iter().filter(|record| record.kind != Kind::Mark));
        batch.tag
    };
    let reading = async {
        loop {
            last = see(&mut records, ingress.batch(1000).await);
        }
    };
    tokio::select! {
        () = careful.pings(PINGS / 3) => {}
        () = reading => {}
    }
    let held = records.len();
    assert!((WINDOW..=H::MOST_UNACKNOWLEDGED).contains(&held), "{held} messages are held");
    careful.is_acknowledged(owed::<H>(WINDOW, 0));

    ingress.acknowledge(last).await;
    while records.len() < FLOOD + WINDOW {
        let tag = see(&mut records, ingress.batch(1000).await);
        ingress.acknowledge(tag).await;
    }
    let all = |count| (0..count).map(payload).collect::<Vec<_>>();
    assert!(of(&records, "flood").into_iter().eq(all(FLOOD).iter().map(String::as_bytes)));
    assert!(of(&records, "careful").into_iter().eq(all(WINDOW).iter().map(String::as_bytes)));
    let mut flooding = soon("the end of the flood", publishing).await.unwrap();
    flooding.settled().await;
    nothing_comes_again(&harness, ingress, &mut careful).await;
}
