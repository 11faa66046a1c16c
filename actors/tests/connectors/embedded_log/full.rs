//! A disk that is full: nothing is acknowledged, nothing is lost, and it goes on when there is room.
//!
//! The disk is a small one in memory, mounted in a namespace of a child process.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use telemill_actors::embedded::disk::{Disk, DiskError, KeyRange, Read, Space};
use telemill_engine::sink::{Sink, Submitted};
use telemill_engine::testing::record;
use telemill_services::eventually;

use crate::kafka_support::{SOON, answer, batch, delivered};
use crate::log_contract::{Embedded, Place};

const DIR: &str = "TELEMILL_TEST_DIR";
const ROWS: Space = Space("rows");

/// Runs one of the tests below on a disk of this size.
fn on_a_small_disk(test: &str, size: &str) {
    let dir = std::env::temp_dir().join(telemill_services::unique_name("small-disk"));
    fs::create_dir_all(&dir).unwrap();
    let mount = format!(r#"mount -t tmpfs -o size={size} tmpfs "$0" && exec "$@""#);
    let ran = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &mount])
        .arg(&dir)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("embedded_log::full::{test}"), "--ignored", "--nocapture"])
        .env(DIR, &dir)
        .output()
        .expect("`unshare` of util-linux is there");
    let _ = fs::remove_dir_all(&dir);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(ran.status.success(), "{}\n{}", text(&ran.stdout), text(&ran.stderr));
    assert!(text(&ran.stdout).contains("1 passed"), "{}", text(&ran.stdout));
}

#[test]
fn a_full_disk_is_waited_out() {
    on_a_small_disk("fills_up_and_goes_on", "40m");
}

#[test]
fn below_the_reserve_nothing_is_acknowledged() {
    on_a_small_disk("keeps_its_reserve", "40m");
}

#[test]
fn a_router_waits_for_room_and_keeps_its_order() {
    on_a_small_disk("routes_on_when_there_is_room", "40m");
}

fn small_disk() -> PathBuf {
    PathBuf::from(std::env::var_os(DIR).unwrap())
}

/// Takes all room but this much, in bytes.
fn fill(dir: &Path, but: usize) -> PathBuf {
    let path = dir.join("filler");
    let mut file = fs::File::create(&path).unwrap();
    let block = vec![7; 64 * 1024];
    while file.write_all(&block).is_ok() {}
    let length = file.metadata().unwrap().len();
    file.set_len(length.saturating_sub(but as u64)).unwrap();
    path
}

async fn put(disk: &Arc<Disk>, number: u32) -> Result<(), DiskError> {
    // Nothing that could be made smaller on its way to the disk.
    let mut state = u64::from(number) + 1;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    let value: Vec<u8> = (0..8 * 1024).map(|_| byte()).collect();
    disk.write(move |tx| {
        tx.insert(ROWS, number.to_be_bytes().to_vec(), value);
        Ok(())
    })
    .await
}

async fn rows(disk: &Arc<Disk>) -> Vec<u32> {
    let read = disk.read(|view| {
        let number = |(key, _): (bytes::Bytes, bytes::Bytes)| u32::from_be_bytes((*key).try_into().unwrap());
        view.rows(ROWS, KeyRange::prefix("")).map(|row| row.map(number)).collect::<Result<Vec<_>, DiskError>>()
    });
    read.await.unwrap()
}

#[tokio::test]
#[ignore = "run by `a_full_disk_is_waited_out` on a small disk"]
async fn fills_up_and_goes_on() {
    let dir = small_disk();
    let data = dir.join("data");
    let disk = Disk::open(&data, 0).await.unwrap();
    let mut acknowledged = Vec::new();
    put(&disk, 0).await.unwrap();
    acknowledged.push(0);
    let filler = fill(&dir, 200 * 1024);
    // Opening anew after a refusal may tidy up enough for one more, but not for ever.
    let mut refused = 0;
    for number in 1..1000 {
        match put(&disk, number).await {
            Ok(()) => {
                acknowledged.push(number);
                refused = 0;
            }
            Err(DiskError::Full { .. }) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
        if refused == 3 {
            break;
        }
    }
    assert_eq!(refused, 3, "the disk is never full");
    fs::remove_file(filler).unwrap();
    eventually(SOON, "room", async || put(&disk, 5000).await.ok()).await;
    acknowledged.push(5000);
    assert_eq!(rows(&disk).await, acknowledged, "what was refused is not there, what was acknowledged is");
    drop(disk);
    let disk = Disk::open(&data, 0).await.unwrap();
    assert_eq!(rows(&disk).await, acknowledged);
}

#[tokio::test]
#[ignore = "run by `below_the_reserve_nothing_is_acknowledged` on a small disk"]
async fn keeps_its_reserve() {
    let dir = small_disk();
    let disk = Disk::open(&dir.join("data"), 8 << 20).await.unwrap();
    put(&disk, 0).await.unwrap();
    let filler = fill(&dir, 4 << 20);
    let refused = put(&disk, 1).await;
    assert!(matches!(refused, Err(DiskError::Full { free, .. }) if free <= 4 << 20), "{refused:?}");
    let tidied = disk.tidy(|tx| {
        tx.remove(ROWS, 0u32.to_be_bytes().to_vec());
        Ok::<_, DiskError>(())
    });
    tidied.await.unwrap();
    assert_eq!(rows(&disk).await, [0; 0], "what makes room may use the reserve");
    fs::remove_file(filler).unwrap();
    put(&disk, 2).await.unwrap();
    assert_eq!(rows(&disk).await, [2], "at once, and nothing of what was refused");
}

#[tokio::test]
#[ignore = "run by `a_router_waits_for_room_and_keeps_its_order` on a small disk"]
async fn routes_on_when_there_is_room() {
    let dir = small_disk();
    let data = dir.join("data");
    let mut place = Place::on(Embedded::in_dir(&data));
    place.declare("data".to_owned(), 1);
    let mut router = place.router_to("data").await;
    delivered(router.submit(batch(vec![record("d1", 0)])).await).await;
    let filler = fill(&dir, 0);
    let batches: Vec<_> = (1..=4).map(|n| batch(vec![record("d1", n)])).collect();
    let mut refused = Vec::new();
    for batch in &batches {
        refused.push(router.submit(batch.clone()).await);
    }
    fs::remove_file(filler).unwrap();
    let mut reasons = Vec::new();
    for completion in refused {
        match answer(completion).await {
            Submitted::Retry { reason, .. } => reasons.push(reason.0),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(reasons[0], "disk_full");
    for batch in &batches {
        eventually(SOON, "the batch to be written", async || {
            matches!(answer(router.submit(batch.clone()).await).await, Submitted::Delivered).then_some(())
        })
        .await;
    }
    let journal = place.ports.journal("stage").unwrap();
    let numbers: Vec<_> = journal.read(0, 0).await.unwrap().iter().map(telemill_engine::testing::number_of).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4]);
}
