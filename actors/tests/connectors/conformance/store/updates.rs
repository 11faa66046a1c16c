//! Who hears of a record.

use telemill_services::unique_name;

use super::{Harness, open};
use crate::conformance::records::{NOW, TOPIC, batch, messages, record};

pub(crate) async fn each_device_is_heard_alone_and_from_then_on<H: Harness>() {
    let harness = H::start().await;
    let (a, b) = (unique_name("dev"), unique_name("dev"));
    let mut store = open(&harness, &unique_name("heard"), 1).await;
    let at = |device: &str, offset| record(device, TOPIC, offset, NOW, &offset.to_string());
    let mut first = store.listen(&a).await;
    let before = [at(&a, 1), at(&b, 2)];
    store.deliver(&batch(&[], before.to_vec())).await;
    let mut second = store.listen(&a).await;
    let behind = [at(&a, 3), at(&b, 4), at(&a, 5)];
    store.deliver(&batch(&[], behind.to_vec())).await;
    let of_a = messages(&[behind[0].clone(), behind[2].clone()]);
    assert_eq!(store.heard(&mut second).await, (of_a.clone(), 0));
    drop(second);
    let (heard, missed) = store.heard(&mut first).await;
    assert_eq!((&heard[..3], missed), (&[messages(&before[..1]), of_a].concat()[..], 0), "others come and go");
}

pub(crate) async fn a_slow_subscriber_is_told_what_it_missed<H: Harness>() {
    const COUNT: i64 = 20_000;
    let harness = H::start().await;
    let device = unique_name("dev");
    let mut store = open(&harness, &unique_name("slow"), 1).await;
    let mut heard = store.listen(&device).await;
    let records: Vec<_> = (0..COUNT).map(|n| record(&device, TOPIC, n, NOW, &n.to_string())).collect();
    for (n, chunk) in records.chunks(1000).enumerate() {
        let previous = [(TOPIC, n as i64 * 1000 - 1, 0)];
        store.deliver(&batch(if n == 0 { &[] } else { &previous }, chunk.to_vec())).await;
    }
    let expect = messages(&records);
    let (messages, missed) = store.heard(&mut heard).await;
    let mut rest = expect.iter();
    assert!(messages.iter().all(|message| rest.any(|next| next == message)), "in order, none twice");
    // Only what marks the end may be among the missed as well.
    let total = messages.len() as u64 + missed;
    let ends = total.checked_sub(expect.len() as u64).expect("none is neither heard nor missed");
    assert!(ends <= missed.min(2), "{ends} of {missed}");
}
