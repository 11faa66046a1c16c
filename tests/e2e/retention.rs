//! The quick start's log is bounded by size; what was written to the store stays there.

use telemill_services::wait_until;

use crate::support::{DEADLINE, Local, Publisher};

#[test]
fn a_topic_keeps_its_newest_up_to_its_size() {
    let mut local = Local::without_fleet("retention");
    local.edit("retention_size: 1GiB", "retention_size: 64KiB");
    let telemill = local.run();
    // The directory is measured each time that the log has been tidied, and marks make it grow meanwhile.
    let another_figure = || {
        let before = telemill.gauge("telemill_data_dir_bytes");
        wait_until(DEADLINE, "another figure of the directory", || {
            (telemill.gauge("telemill_data_dir_bytes") != before).then_some(())
        });
    };
    // So there are seconds until it is tidied again: time for the writer to read it all.
    another_figure();
    let mut publisher = Publisher::connect(&telemill.mqtt());
    let text = "x".repeat(1024);
    for seq in 1..=300 {
        publisher.send("devices/d1/data", format!(r#"{{"seq":{seq},"text":"{text}"}}"#));
    }
    publisher.settled();
    let in_the_store = || telemill.history("d1").into_iter().map(|(seq, _)| seq).eq(1..=300);
    wait_until(DEADLINE, "everything in the store", || in_the_store().then_some(()));
    // The second stands behind a tidying that has seen all.
    another_figure();
    another_figure();
    assert!(in_the_store(), "the history is bounded by its age");
    telemill.drain();

    let kept: Vec<u64> = local.log("iot-data")["d1"].iter().map(|record| record.seq()).collect();
    // More than half of the size, in records that are larger than their text.
    assert!((32..64).contains(&kept.len()), "{kept:?}");
    assert!(kept.iter().copied().eq(301 - kept.len() as u64..=300), "{kept:?}");
}
