//! What is acknowledged, and when: what the engine has acknowledged, in the order of reading, and nothing else.

use telemill_engine::record::Record;
use telemill_engine::source::{Acker, SourceError, SourceEvent};

use super::device::{Device, Version};
use super::{Harness, connected, nothing_comes_again, numbers, owed, payloads, serving};
use crate::mqtt_support::Ingress;

/// A device that has published the numbers below `count`.
async fn published<H: Harness>(harness: &H, count: usize) -> Device {
    let mut device = connected(harness, "d1", Version::V4).await;
    for number in 0..count {
        device.publish(&harness.topic("d1", "data"), number.to_string()).await;
    }
    device
}

/// The next life of an ingress, and the device connected to it.
async fn again<H: Harness>(harness: &H, device: &mut Device) -> Ingress<H::Source> {
    let ingress = Ingress::begin(harness.build().await).await;
    device.reconnect(&harness.address()).await;
    ingress
}

/// The engine has these in its sinks, and says so.
async fn acknowledge<H: Harness>(harness: &H, ingress: &mut Ingress<H::Source>, (records, tag): (Vec<Record>, u64)) {
    harness.has(&records);
    ingress.acknowledge(tag).await;
}

/// Whether it was handed out or not: only what the engine has acknowledged is left out when the next life begins.
pub(crate) async fn what_was_not_acknowledged_comes_again_after_a_crash<H: Harness>() {
    let (mut harness, mut ingress) = serving::<H>().await;
    let mut device = published(&harness, 100).await;
    let safe = ingress.take(20).await;
    let handed_out = ingress.take(50).await;
    device.acknowledged(owed::<H>(100, 0)).await;
    acknowledge(&harness, &mut ingress, safe).await;
    device.acknowledged(owed::<H>(100, 20)).await;
    ingress.crash().await;
    harness.crash().await;

    let mut ingress = again(&harness, &mut device).await;
    let came_again = ingress.take(80).await;
    assert_eq!(payloads(&came_again.0), numbers(20..100));
    assert_eq!(payloads(&came_again.0[..50]), payloads(&handed_out.0));
    acknowledge(&harness, &mut ingress, came_again).await;
    nothing_comes_again(&harness, ingress, &mut device).await;
}

/// A batch that is acknowledged stands for all before it. At the end what is acknowledged gets out, though the log is not
/// asked for it, and the rest stays where it is.
pub(crate) async fn a_graceful_end_acknowledges_what_is_safe<H: Harness>() {
    let (harness, mut ingress) = serving::<H>().await;
    let mut device = published(&harness, 5).await;
    let tags = [ingress.take(1).await.1, ingress.take(1).await.1, ingress.take(1).await.1, ingress.take(1).await.1];
    device.acknowledged(owed::<H>(5, 0)).await;
    ingress.acknowledge(tags[0]).await;
    device.acknowledged(owed::<H>(5, 1)).await;
    ingress.acknowledge(tags[2]).await;
    ingress.close().await;
    if H::ACKNOWLEDGES_TO_DEVICES {
        device.is_cut_off().await;
    }
    device.is_acknowledged(owed::<H>(5, 3));

    let mut ingress = again(&harness, &mut device).await;
    let (records, tag) = ingress.take(2).await;
    assert_eq!(payloads(&records), numbers(3..5));
    ingress.acknowledge(tag).await;
    nothing_comes_again(&harness, ingress, &mut device).await;
}

/// An ingress cannot read again by itself what the engine let go of: it asks to be built anew, and then it comes again.
pub(crate) async fn a_batch_that_is_given_back_is_read_again<H: Harness>() {
    let (harness, mut ingress) = serving::<H>().await;
    let mut device = published(&harness, 30).await;
    let safe = ingress.take(10).await;
    acknowledge(&harness, &mut ingress, safe).await;
    device.acknowledged(owed::<H>(30, 10)).await;
    let (_, let_go) = ingress.take(10).await;
    let behind = ingress.take(10).await;
    ingress.acker.give_back(0, let_go).await.unwrap();
    let end = loop {
        match ingress.event(1).await {
            Ok(SourceEvent::Batch(_)) => {}
            end => break end,
        }
    };
    assert!(matches!(end, Err(SourceError::Unavailable(_))), "{end:?}");
    drop(ingress);
    if H::ACKNOWLEDGES_TO_DEVICES {
        device.is_cut_off().await;
    }
    device.is_acknowledged(owed::<H>(30, 10));

    let mut ingress = again(&harness, &mut device).await;
    let came_again = ingress.take(20).await;
    assert_eq!(payloads(&came_again.0), numbers(10..30));
    assert_eq!(payloads(&came_again.0[10..]), payloads(&behind.0));
    acknowledge(&harness, &mut ingress, came_again).await;
    nothing_comes_again(&harness, ingress, &mut device).await;
}
