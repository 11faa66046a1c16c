//! Retention, step by step.

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
    let mut page = Page::new(time(at));
    page.push(None, &FrameHeaders::default(), &[b'x'; 100]);
    let (held, topic) = (log.clone(), topic.clone());
    let appended = log.disk().write(move |tx| {
        let mut appender = Appender::new(&held, tx);
        let offset = appender.append(Append { topic, partition, page })?;
        appender.finish();
        Ok::<_, LogError>(offset)
    });
    appended.await.unwrap()
}

async fn offsets(log: &Log, topic: &Arc<Topic>, partition: i32) -> Vec<i64> {
    let entries = log.read(topic, partition, 0..i64::MAX, usize::MAX, u64::MAX).await.unwrap();
    entries.iter().map(|entry| entry.offset).collect()
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
