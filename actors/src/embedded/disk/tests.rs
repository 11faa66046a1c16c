//! The data directory as its users see it, on a real disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const A: Space = Space("a");
const B: Space = Space("b");

/// A directory of its own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("telemill-disk-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Scratch(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

async fn open(scratch: &Scratch) -> Arc<Disk> {
    Disk::open(&scratch.0, 0).await.unwrap()
}

async fn put(disk: &Disk, key: &'static str, value: &'static str) {
    let put = disk.write(move |tx| {
        tx.insert(A, key, value);
        Ok::<_, DiskError>(())
    });
    put.await.unwrap();
}

async fn all(disk: &Disk, space: Space) -> Vec<String> {
    let text = |(key, value): Row| format!("{}={}", key.escape_ascii(), value.escape_ascii());
    let read = disk.read(move |view| {
        let rows = view.rows(space, KeyRange::prefix(""));
        rows.map(|row| row.map(text)).collect::<Result<Vec<_>, DiskError>>()
    });
    read.await.unwrap()
}

#[derive(Debug, PartialEq)]
enum Refused {
    Mine,
    Disk(String),
}

impl From<DiskError> for Refused {
    fn from(error: DiskError) -> Self {
        Refused::Disk(error.to_string())
    }
}

#[tokio::test]
async fn a_write_is_there_after_a_restart_and_over_several_spaces() {
    let scratch = Scratch::new();
    let disk = open(&scratch).await;
    let written = disk.write(|tx| {
        tx.insert(A, "k", "1");
        tx.insert(B, "k", "2");
        Ok::<_, DiskError>(7)
    });
    assert_eq!(written.await.unwrap(), 7);
    assert_eq!((all(&disk, A).await, all(&disk, B).await), (vec!["k=1".to_owned()], vec!["k=2".to_owned()]));
    drop(disk);
    let disk = open(&scratch).await;
    assert_eq!((all(&disk, A).await, all(&disk, B).await), (vec!["k=1".to_owned()], vec!["k=2".to_owned()]));
    assert_eq!(all(&disk, Space("never_written")).await, [""; 0]);
}

#[tokio::test]
async fn one_handle_a_directory_and_one_process() {
    let scratch = Scratch::new();
    let disk = open(&scratch).await;
    let again = Disk::open(&scratch.0.join("."), 0).await.unwrap();
    assert!(Arc::ptr_eq(&disk, &again));
    // As a second process would find it.
    let second = opened::Opened::open(&scratch.0).map(drop);
    assert!(matches!(second, Err(DiskError::InUse(_))), "{second:?}");
}

#[tokio::test]
async fn a_place_that_can_be_no_directory_is_refused_for_good() {
    let scratch = Scratch::new();
    fs::create_dir_all(&scratch.0).unwrap();
    let file = scratch.0.join("file");
    fs::write(&file, "x").unwrap();
    for place in [file.clone(), file.join("below")] {
        let error = Disk::open(&place, 0).await.map(drop).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, DiskError::Broken(_)) && text.contains(place.to_str().unwrap()), "{text}");
    }
}

#[tokio::test]
async fn a_closure_that_refuses_takes_back_its_own_writes_only() {
    let scratch = Scratch::new();
    let disk = open(&scratch).await;
    put(&disk, "a", "old").await;
    let refused = disk.write(|tx| {
        tx.insert(A, "a", "new");
        tx.remove(A, "b");
        tx.insert(A, "b", "new");
        tx.on_durable(|| panic!("it must not run"));
        Err::<(), _>(Refused::Mine)
    });
    let panics = disk.write::<(), DiskError, _>(|tx| {
        tx.insert(A, "c", "new");
        panic!("as it may happen");
    });
    let kept = disk.write(|tx| {
        tx.insert(A, "d", "kept");
        Ok::<_, DiskError>(())
    });
    let (refused, panics, kept) = tokio::join!(refused, panics, kept);
    assert_eq!(refused, Err(Refused::Mine));
    assert!(matches!(panics, Err(DiskError::Panicked)), "{panics:?}");
    kept.unwrap();
    assert_eq!(all(&disk, A).await, ["a=old", "d=kept"]);
}

#[tokio::test]
async fn closures_run_one_after_the_other_and_see_each_other() {
    let scratch = Scratch::new();
    let disk = open(&scratch).await;
    let durable = Arc::new(AtomicUsize::new(0));
    let add = |disk: Arc<Disk>, durable: Arc<AtomicUsize>| async move {
        let added = disk.write(move |tx| {
            let before = tx.get(A, b"count")?.map_or(0, |value| u32::from_be_bytes((*value).try_into().unwrap()));
            tx.insert(A, "count", (before + 1).to_be_bytes().to_vec());
            tx.on_durable(move || {
                durable.fetch_add(1, Ordering::Relaxed);
            });
            Ok::<_, DiskError>(before)
        });
        added.await.unwrap()
    };
    let adding = (0..3000).map(|_| tokio::spawn(add(disk.clone(), durable.clone()))).collect::<Vec<_>>();
    let mut seen = Vec::new();
    for added in adding {
        seen.push(added.await.unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..3000).collect::<Vec<_>>());
    assert_eq!(durable.load(Ordering::Relaxed), 3000);
}

#[tokio::test]
async fn a_write_reads_what_stands_and_what_the_group_wrote_in_order() {
    let scratch = Scratch::new();
    let disk = open(&scratch).await;
    for (key, value) in [("b", "1"), ("d", "2"), ("e", "3"), ("x", "9")] {
        put(&disk, key, value).await;
    }
    let read = disk.write(|tx| {
        tx.insert(A, "a", "a");
        tx.insert(A, "d", "new");
        tx.remove(A, "e");
        tx.insert(A, "c", "c");
        let keys = |rows: Rows<'_>| {
            rows.map(|row| row.map(|(key, value)| format!("{}{}", key.escape_ascii(), value.escape_ascii())))
                .collect::<Result<Vec<_>, _>>()
        };
        let forward = keys(tx.rows(A, KeyRange::between("a", "x")))?;
        let back = keys(tx.rows_back(A, KeyRange::between("b", "x")))?;
        let none = keys(tx.rows(A, KeyRange::between("x", "a")))?;
        Ok::<_, DiskError>((forward, back, none, tx.get(A, b"e")?))
    });
    let (forward, back, none, removed) = read.await.unwrap();
    assert_eq!(forward, ["aa", "b1", "cc", "dnew"]);
    assert_eq!(back, ["dnew", "cc", "b1"]);
    assert_eq!((none.len(), removed), (0, None));
}

#[test]
fn a_prefix_ends_where_the_next_one_begins() {
    let range = |prefix: &[u8]| format!("{:?}", KeyRange::prefix(prefix.to_vec()));
    assert_eq!(range(b"a\xff"), r#"KeyRange(Included(b"a\xff"), Excluded(b"b"))"#);
    assert_eq!(range(b"\xff"), r#"KeyRange(Included(b"\xff"), Unbounded)"#);
    assert_eq!(range(b"ab"), r#"KeyRange(Included(b"ab"), Excluded(b"ac"))"#);
}

/// The journal's path and the bytes of it that are in use.
fn journal(scratch: &Scratch) -> (PathBuf, Vec<u8>) {
    let path = scratch.0.join("0.jnl");
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    bytes.truncate(end);
    (path, bytes)
}

async fn three_groups(scratch: &Scratch) -> (PathBuf, Vec<usize>, Vec<u8>) {
    let disk = open(scratch).await;
    let mut ends = Vec::new();
    for (key, value) in [("a", "the first"), ("b", "the second"), ("c", "the third")] {
        put(&disk, key, value).await;
        ends.push(journal(scratch).1.len());
    }
    drop(disk);
    // Opened once more, so that it is closed for certain.
    drop(open(scratch).await);
    let disk = open(scratch).await;
    assert_eq!(all(&disk, A).await.len(), 3);
    drop(disk);
    wait_closed(&scratch.0).await;
    let (path, bytes) = journal(scratch);
    (path, ends, bytes)
}

/// Until the writer of the last handle has closed the directory.
async fn wait_closed(dir: &Path) {
    let dir = dir.canonicalize().unwrap();
    let closed = || opened::Opened::open(&dir).map(opened::Opened::close);
    let deadline = std::time::Duration::from_secs(20);
    telemill_services::eventually(deadline, "the directory to be closed", async || {
        (!matches!(closed(), Err(DiskError::InUse(_)))).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_torn_tail_is_cut_wherever_it_tore() {
    let scratch = Scratch::new();
    let (path, ends, bytes) = three_groups(&scratch).await;
    let check = async |bytes: Vec<u8>, expect: &[&str], what: &str| {
        fs::write(&path, bytes).unwrap();
        let disk = open(&scratch).await;
        assert_eq!(all(&disk, A).await, expect, "{what}");
        // It goes on behind the cut.
        put(&disk, "z", "after").await;
        drop(disk);
        let disk = open(&scratch).await;
        assert_eq!(all(&disk, A).await.len(), expect.len() + 1, "{what}");
        drop(disk);
        wait_closed(&scratch.0).await;
    };
    let whole = ["a=the first", "b=the second", "c=the third"];
    for cut in [ends[1] + 1, ends[1] + 14, ends[2] - 14, ends[2] - 5, ends[2] - 1] {
        check(bytes[..cut].to_vec(), &whole[..2], &format!("cut at {cut} of {}", ends[2])).await;
        // The file had been made longer before what fills it came to the disk.
        let mut zeros = bytes[..cut].to_vec();
        zeros.resize(ends[2] + 4096, 0);
        check(zeros, &whole[..2], &format!("zeros from {cut} of {}", ends[2])).await;
    }
    // The first 13 bytes hold the number of the batch, which is only compared with the one before.
    for hole in [ends[1], ends[1] + 1].into_iter().chain((ends[1] + 13..ends[2]).step_by(5)) {
        let mut holed = bytes.clone();
        holed[hole] ^= 0xff;
        check(holed, &whole[..2], &format!("byte {hole} of {}", ends[2])).await;
    }
    let mut renumbered = bytes.clone();
    renumbered[ends[1] + 5..ends[1] + 13].fill(0);
    check(renumbered, &whole[..2], "the number of the batch is missing").await;
    check(bytes, &whole, "as it was").await;
}

#[tokio::test]
async fn damage_to_what_was_acknowledged_is_no_torn_tail() {
    let scratch = Scratch::new();
    let (path, ends, mut bytes) = three_groups(&scratch).await;
    bytes[ends[1] - 8] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let refused = Disk::open(&scratch.0, 0).await.map(drop);
    let Err(DiskError::Broken(why)) = refused else { panic!("{refused:?}") };
    assert!(why.contains(&format!("damaged at byte {}", ends[0])), "{why}");
    assert_eq!(fs::read(&path).unwrap(), bytes, "nothing was changed");
}

#[tokio::test]
async fn usage_counts_blocks_and_not_holes() {
    let scratch = Scratch::new();
    let disk = open(&scratch).await;
    put(&disk, "a", "1").await;
    assert_eq!(disk.usage(), None);
    let usage = disk.measure().await.unwrap();
    assert_eq!(disk.usage(), Some(usage));
    assert!((1..8 << 20).contains(&usage.used), "a new journal is a hole of 64 MiB: {usage:?}");
    assert!(usage.free > 0);
}

#[tokio::test]
async fn a_directory_of_a_form_of_before_has_the_present_one_from_the_first_write_on() {
    const DISK: Space = Space("disk");
    let scratch = Scratch::new();
    let version = async |disk: &Disk| {
        let version = disk.read(|view| view.get(DISK, b"version")).await;
        String::from_utf8(version.map_err(|error: DiskError| error).unwrap().unwrap().to_vec()).unwrap()
    };
    let set = async |disk: &Disk, version: &'static str| {
        let set = disk.write(move |tx| {
            tx.insert(DISK, "version", version);
            Ok::<_, DiskError>(())
        });
        set.await.unwrap();
    };
    let mut disk = open(&scratch).await;
    put(&disk, "k", "1").await;
    assert_eq!(version(&disk).await, "3");
    for before in ["1", "2"] {
        set(&disk, before).await;
        drop(disk);
        disk = open(&scratch).await;
        assert_eq!(version(&disk).await, before);
        put(&disk, "k", "2").await;
        assert_eq!(version(&disk).await, "3");
    }
    set(&disk, "4").await;
    drop(disk);
    let refused = Disk::open(&scratch.0, 0).await.err().expect("it has a newer form").to_string();
    assert!(refused.contains("has form 4, but this program knows 3"), "{refused}");
}
