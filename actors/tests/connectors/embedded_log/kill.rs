//! kill -9 at any moment: what was acknowledged is there, in order and once.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;
use telemill_actors::embedded::router::EmbeddedRouter;
use telemill_engine::sink::Sink;
use telemill_engine::source::{ResumeAt, SourceEvent};
use telemill_engine::testing::{number_of, record};
use telemill_services::eventually;

use crate::kafka_support::{SOON, batch, delivered};
use crate::log_contract::{Embedded, Place};

const DIR: &str = "TELEMILL_TEST_DIR";
const FIRST: &str = "TELEMILL_TEST_FIRST";
const TOPIC: &str = "data";
const ROUNDS: usize = 6;

fn place(dir: &Path) -> Place<Embedded> {
    let mut place = Place::on(Embedded::in_dir(dir));
    place.declare(TOPIC.to_owned(), 2);
    place
}

/// Appends numbered records and says which are acknowledged, until it is killed.
#[tokio::test]
#[ignore = "the process that `what_was_acknowledged_survives_kill_9` starts and kills"]
async fn appends_until_it_is_killed() {
    let place = place(&PathBuf::from(std::env::var_os(DIR).unwrap()));
    let mut next: usize = std::env::var(FIRST).unwrap().parse().unwrap();
    // The process that looked at the last one's work may be closing the directory still.
    let checked = place.check::<EmbeddedRouter>(json!({ "connection": "log", "topic": TOPIC }));
    let mut router =
        eventually(SOON, "the directory", async || place.build::<EmbeddedRouter>(&checked).await.ok()).await;
    let mut in_flight = std::collections::VecDeque::new();
    loop {
        let size = 1 + next % 23;
        let records = (next..next + size).map(|n| record(&format!("d{}", n % 5), n)).collect();
        next += size;
        in_flight.push_back((next, router.submit(batch(records)).await));
        while in_flight.len() >= router.window() {
            let (below, completion) = in_flight.pop_front().unwrap();
            delivered(completion).await;
            let mut out = std::io::stdout().lock();
            writeln!(out, "acknowledged {below}").unwrap();
            out.flush().unwrap();
        }
    }
}

struct Appending(Child);

impl Drop for Appending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the child until it has said so often that something is acknowledged, kills it, and gives the last number.
fn append_and_kill(dir: &Path, first: u64, times: usize) -> u64 {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "embedded_log::kill::appends_until_it_is_killed", "--ignored", "--nocapture"])
        .env(DIR, dir)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = Appending(child.unwrap());
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut acknowledged = || lines.find_map(|line| line.split_once("acknowledged ")?.1.trim().parse().ok());
    for _ in 1..times {
        acknowledged().expect("the child goes on");
    }
    child.0.kill().unwrap();
    child.0.wait().unwrap();
    // What it had said before it died counts, too.
    let mut last = None;
    while let Some(below) = acknowledged() {
        last = Some(below);
    }
    last.unwrap_or(first)
}

#[tokio::test]
async fn what_was_acknowledged_survives_kill_9() {
    let dir = std::env::temp_dir().join(telemill_services::unique_name("killed"));
    let mut first = 0;
    for round in 0..ROUNDS {
        let at = dir.clone();
        let killed = tokio::task::spawn_blocking(move || append_and_kill(&at, first, 30 + round * 37));
        let acknowledged = killed.await.unwrap();
        let numbers = all(&dir).await;
        let mut all: Vec<_> = numbers.values().flatten().copied().collect();
        all.sort_unstable();
        let expect: Vec<_> = (0..all.len() as u64).collect();
        assert_eq!(all, expect, "each once, and nothing behind something that is missing");
        assert!(all.len() as u64 >= acknowledged, "{} of {acknowledged} acknowledged records", all.len());
        for (device, numbers) in numbers {
            assert!(numbers.is_sorted(), "{device} is out of order");
        }
        assert!(all.len() as u64 > first, "round {round} wrote something");
        first = all.len() as u64;
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

/// The numbers of all records, by device, in the order of the log.
async fn all(dir: &Path) -> BTreeMap<String, Vec<u64>> {
    let place = place(dir);
    let _router = place.router_to(TOPIC).await;
    let journal = place.ports.journal("stage").unwrap();
    let mut total = 0;
    for partition in 0..2 {
        total += journal.end(partition).await.unwrap() as usize;
    }
    let mut source = place.source(&[TOPIC], "check").await;
    source.assigned(ResumeAt::Committed).await;
    let mut numbers: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut seen = 0;
    while seen < total {
        match source.next(1000).await.unwrap() {
            SourceEvent::Batch(batch) => {
                seen += batch.records.len();
                for record in batch.records {
                    numbers.entry(record.device.as_str().to_owned()).or_default().push(number_of(&record));
                }
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, total);
    source.close().await;
    numbers
}
