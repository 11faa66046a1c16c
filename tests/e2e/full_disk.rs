//! The data directory's disk is full: nothing is acknowledged, nothing is lost, and it goes on when there is room.

use serde_json::Value;
use telemill_services::wait_until;

use crate::support::{DEADLINE, Local, Publisher, SmallDisk, Telemill};

const DEVICES: [&str; 3] = ["d1", "d2", "d3"];
const KEPT_FREE: f64 = (8 << 20) as f64;

/// Each device sends messages with these running numbers.
fn publish(publisher: &mut Publisher, numbers: std::ops::Range<u64>) {
    for seq in numbers {
        for device in DEVICES {
            publisher.send(&format!("devices/{device}/data"), format!(r#"{{"seq":{seq}}}"#));
        }
    }
}

fn everything_is_there_once(telemill: &Telemill, count: u64) {
    for device in DEVICES {
        let history = wait_until(DEADLINE, &format!("{count} messages of {device}"), || {
            Some(telemill.history(device)).filter(|history| history.len() as u64 >= count)
        });
        assert!(history.iter().map(|(seq, _)| *seq).eq(0..count), "{device}: {history:?}");
    }
    telemill.ledgers_balance();
}

#[test]
fn a_full_disk_ends_acknowledging_and_says_so_until_there_is_room() {
    let disk = SmallDisk::new("full-disk", "96m");
    let mut local = Local::without_fleet("full-disk");
    local.keep_free("8MiB");
    let mut telemill = local.run_on(&disk);
    let mut publisher = Publisher::connect(&telemill.mqtt());
    publish(&mut publisher, 0..50);
    publisher.settled();

    disk.fill();
    let taken = publisher.taken();
    publish(&mut publisher, 50..70);
    let why = format!("the disk of {}/data is full", disk.path().display());
    wait_until(DEADLINE, "readiness to say that the disk is full", || {
        let answer = telemill.http.get("/readyz");
        let reasons = answer.json()["reasons"].as_array().cloned().unwrap_or_default();
        let is_router = |reason: &Value| {
            let state = &reason["state"];
            reason["stage"] == "router"
                && state["state"] == "waiting"
                && state["why"].as_str().unwrap_or("").contains(&why)
        };
        (answer.status == 503 && reasons.iter().any(is_router)).then_some(())
    });
    wait_until(DEADLINE, "the metrics to show what is free", || {
        telemill.gauge("telemill_data_dir_free_bytes").filter(|free| *free < KEPT_FREE)
    });
    let retries = telemill.logged("stage_retry");
    assert!(retries.iter().any(|entry| entry["stage"] == "router" && entry["reason"] == "disk_full"), "{retries:?}");
    assert_eq!(telemill.http.get("/livez").status, 200);
    assert_eq!(publisher.taken(), taken, "acknowledged without room");

    disk.empty();
    publisher.settled();
    telemill.until_ready();
    let goes_on = telemill.logged("stage_goes_on");
    assert!(goes_on.iter().any(|entry| entry["stage"] == "router"), "{goes_on:?}");
    everything_is_there_once(&telemill, 70);
    telemill.kill9();

    let telemill = local.run_on(&disk);
    everything_is_there_once(&telemill, 70);
    telemill.drain();
}
