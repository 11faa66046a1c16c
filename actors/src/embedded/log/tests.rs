//! Pages and what is read of them, and retention, step by step.

use std::sync::Arc;
use std::time::Duration;

use telemill_engine::clock::Timestamp;
use telemill_engine::context::TopicDecl;
use telemill_engine::context::Topics;

use super::frame::FrameHeaders;
use super::*;

struct Scratch(std::path::PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn log() -> (Scratch, Arc<Log>) {
    let dir = Scratch(std::env::temp_dir().join(telemill_services::unique_name("log")));
    let log = Log::of(&Disk::open(&dir.0, 0).await.unwrap());
    (dir, log)
}

fn declared(partitions: i32, set: impl FnOnce(&mut TopicDecl)) -> TopicDecl {
    let mut decl = TopicDecl { name: "data".to_owned(), partitions, ..Topics::default().defaults };
    set(&mut decl);
    decl
}

/// A time of these tests. Far ahead of the machine's, so that what the log tidies by itself meanwhile is nothing.
fn time(at: u64) -> Timestamp {
    const AHEAD: u64 = 10_000_000_000_000;
    Timestamp(AHEAD + at)
}

/// Appends a record of 100 bytes of value, taken at this time.
async fn append(log: &Arc<Log>, topic: &Arc<Topic>, partition: i32, at: u64) -> i64 {
    append_page(log, topic, partition, at, 1).await
}

/// Appends so many of them, as one page; the offset of the last.
async fn append_page(log: &Arc<Log>, topic: &Arc<Topic>, partition: i32, at: u64, records: usize) -> i64 {
    let mut page = Page::new(time(at));
    for _ in 0..records {
        page.push(None, &FrameHeaders::default(), &[b'x'; 100]);
    }
    let (held, topic) = (log.clone(), topic.clone());
    let appended = log.disk().write(move |tx| {
        let mut appender = Appender::new(&held, tx);
        let offset = appender.append(Append { topic, partition, page })?;
        appender.finish();
        Ok::<_, LogError>(offset)
    });
    appended.await.unwrap()
}

/// Appends a record to partition 0 as a program of before wrote it, taken at 2,000.
async fn append_before(log: &Arc<Log>, topic: &Arc<Topic>, version: u8) {
    let topic = topic.clone();
    let row = [&[version][..], &time(2_000).0.to_be_bytes(), b"\0\x01d\0\0{}"].concat();
    let written = log.disk().write(move |tx| {
        let mut line = Line::load(tx, topic.place(0))?;
        let key = topic.place(0).row(line.end);
        line.bytes += (key.len() + row.len()) as u64;
        tx.insert(LOG, key, row);
        line.end += 1;
        line.save(tx, topic.place(0));
        tx.on_durable(move || topic.moved(0, line));
        Ok::<_, LogError>(())
    });
    written.await.unwrap();
}

async fn offsets(log: &Log, topic: &Arc<Topic>, partition: i32) -> Vec<i64> {
    let entries = log.read(topic, partition, 0..i64::MAX, usize::MAX, usize::MAX).await.unwrap();
    entries.iter().map(|entry| entry.offset).collect()
}

/// Pages of three records each, and between them one of each form of before.
#[tokio::test]
async fn reading_begins_within_a_page_and_ends_within_one() {
    let (_dir, log) = log().await;
    let topic = log.ensure(&[declared(2, |_| {})]).await.unwrap().remove(0);
    assert_eq!(append_page(&log, &topic, 0, 1, 3).await, 2);
    for version in [1, 2] {
        append_before(&log, &topic, version).await;
    }
    assert_eq!(append_page(&log, &topic, 0, 1, 3).await, 7);
    append_page(&log, &topic, 1, 1, 3).await;
    for from in 0..=8 {
        for to in from..=8 {
            let entries = log.read(&topic, 0, from..to, usize::MAX, usize::MAX).await.unwrap();
            let offsets: Vec<i64> = entries.iter().map(|entry| entry.offset).collect();
            assert_eq!(offsets, (from..to).collect::<Vec<_>>(), "{from}..{to}");
            assert!(entries.iter().all(|entry| entry.frame().is_some()));
            let (read, mut count) = (topic.clone(), 0);
            let counted = log.disk().read(move |view| {
                for_each(view, &read, 0, from..to, |_| count += 1)?;
                Ok::<_, LogError>(count)
            });
            assert_eq!(counted.await.unwrap(), to - from, "{from}..{to}");
        }
    }
    // What was begun is given whole, and no more is begun.
    let some = async |records, bytes| log.read(&topic, 0, 1..8, records, bytes).await.unwrap().len();
    assert_eq!((some(1, usize::MAX).await, some(2, usize::MAX).await, some(3, usize::MAX).await), (2, 2, 3));
    // A record of a page has 105 bytes, one of the others 7.
    assert_eq!((some(usize::MAX, 1).await, some(usize::MAX, 210).await, some(usize::MAX, 217).await), (2, 2, 3));
}

#[tokio::test]
async fn what_is_older_than_the_retention_goes_and_the_start_moves() {
    let (_dir, log) = log().await;
    let decl = declared(2, |decl| decl.retention = Some(Duration::from_secs(10)));
    let topic = log.ensure(&[decl]).await.unwrap().remove(0);
    for at in [1_000, 2_000, 3_000] {
        append(&log, &topic, 0, at).await;
    }
    append(&log, &topic, 1, 9_000).await;
    let check = async |now: u64, first: &[i64], bounds: (i64, i64)| {
        log.tidy(time(now)).await.unwrap();
        assert_eq!(offsets(&log, &topic, 0).await, first, "at {now}");
        assert_eq!(topic.bounds(0), bounds, "at {now}");
    };
    check(11_000, &[0, 1, 2], (0, 3)).await;
    check(12_500, &[2], (2, 3)).await;
    check(60_000, &[], (3, 3)).await;
    assert_eq!(topic.bounds(1), (1, 1));
    assert_eq!(append(&log, &topic, 0, 60_000).await, 3, "offsets go on");
    check(60_001, &[3], (3, 4)).await;
}

#[tokio::test]
async fn a_topic_holds_no_more_than_it_may_and_the_oldest_goes_first() {
    let (_dir, log) = log().await;
    let topic = log.ensure(&[declared(2, |_| {})]).await.unwrap().remove(0);
    // The key, what a page has before its records, a record without key and headers in it, and the value.
    let each = 16 + 13 + 4 + 5 + 100;
    for (partition, at) in [(0, 10), (1, 20), (0, 30), (1, 40), (0, 50)] {
        append(&log, &topic, partition, at).await;
    }
    let retain = async |bytes: u64| {
        log.ensure(&[declared(2, |decl| decl.retention_bytes = Some(bytes))]).await.unwrap();
        log.tidy(time(1_000)).await.unwrap();
        (offsets(&log, &topic, 0).await, offsets(&log, &topic, 1).await)
    };
    assert_eq!(retain(5 * each).await, (vec![0, 1, 2], vec![0, 1]));
    assert_eq!(retain(5 * each - 1).await, (vec![1, 2], vec![0, 1]), "the oldest of all partitions");
    assert_eq!(retain(2 * each).await, (vec![2], vec![1]));
    assert_eq!(retain(1).await, (vec![], vec![]));
}

/// A page goes whole, and a row of a form of before counts by what it has.
#[tokio::test]
async fn the_start_moves_by_all_records_of_a_page() {
    let (_dir, log) = log().await;
    let topic =
        log.ensure(&[declared(1, |decl| decl.retention = Some(Duration::from_secs(10)))]).await.unwrap().remove(0);
    append_page(&log, &topic, 0, 1_000, 3).await;
    append_before(&log, &topic, 2).await;
    append_page(&log, &topic, 0, 3_000, 3).await;
    append_page(&log, &topic, 0, 9_000, 2).await;
    let state = async |now: u64| {
        log.tidy(time(now)).await.unwrap();
        let place = topic.place(0);
        let line =
            log.disk().read(move |view| Line::load(view, place)).await.map_err(|error: DiskError| error).unwrap();
        (topic.bounds(0), line.bytes, offsets(&log, &topic, 0).await.len())
    };
    // Of a page: the key, what it begins with, and its records.
    let page = |records: u64| 16 + 13 + records * (4 + 105);
    let before = 16 + 9 + 7;
    assert_eq!(state(10_500).await, ((0, 9), 2 * page(3) + before + page(2), 9));
    assert_eq!(state(11_500).await, ((3, 9), page(3) + before + page(2), 6));
    assert_eq!(state(12_500).await, ((4, 9), page(3) + page(2), 5));
    // Within a page that is there, and one that is gone.
    let read = async |from: i64| log.read(&topic, 0, from..9, usize::MAX, usize::MAX).await.unwrap();
    assert_eq!(read(5).await.iter().map(|entry| entry.offset).collect::<Vec<_>>(), [5, 6, 7, 8]);
    assert_eq!(read(1).await.first().map(|entry| entry.offset), Some(4));
    assert_eq!(state(60_000).await, ((9, 9), 0, 0));
}

#[tokio::test]
async fn more_than_a_step_goes_in_steps_and_is_gone_after_a_restart() {
    let (dir, log) = log().await;
    let decl = declared(1, |decl| decl.retention = Some(Duration::from_secs(1)));
    let topic = log.ensure(std::slice::from_ref(&decl)).await.unwrap().remove(0);
    let (held, appended_to) = (log.clone(), topic.clone());
    let appended = log.disk().write(move |tx| {
        let mut appender = Appender::new(&held, tx);
        for _ in 0..5_000 {
            let mut page = Page::new(time(1));
            page.push(None, &FrameHeaders::default(), b"x");
            appender.append(Append { topic: appended_to.clone(), partition: 0, page })?;
        }
        appender.finish();
        Ok::<_, LogError>(())
    });
    appended.await.unwrap();
    append(&log, &topic, 0, 100_000).await;
    log.tidy(time(100_500)).await.unwrap();
    assert_eq!(topic.bounds(0), (5_000, 5_001));
    drop((log, topic));
    let log = Log::of(&Disk::open(&dir.0, 0).await.unwrap());
    let topic = log.ensure(&[decl]).await.unwrap().remove(0);
    assert_eq!(topic.bounds(0), (5_000, 5_001));
    assert_eq!(offsets(&log, &topic, 0).await, [5_000]);
}

#[tokio::test]
async fn a_topic_keeps_its_identity_and_its_partitions() {
    let (dir, log) = log().await;
    let topic = log.ensure(&[declared(2, |_| {})]).await.unwrap().remove(0);
    let id = topic.id;
    drop((log, topic));
    let log = Log::of(&Disk::open(&dir.0, 0).await.unwrap());
    let refused = log.ensure(&[declared(3, |_| {})]).await.map(drop);
    assert!(
        matches!(&refused, Err(LogError::Impossible(why)) if why.contains("has 2 partitions, but 3")),
        "{refused:?}"
    );
    let refused = log.ensure(&[declared(2, |decl| decl.replication = 3)]).await.map(drop);
    assert!(matches!(&refused, Err(LogError::Impossible(why)) if why.contains("one copy")), "{refused:?}");
    assert_eq!(log.ensure(&[declared(2, |_| {})]).await.unwrap()[0].id, id);
    let group = log.join("g").unwrap();
    assert!(log.join("g").is_none());
    drop(group);
    assert!(log.join("g").is_some());
}
