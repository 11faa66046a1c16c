//! A process that is killed at any moment: what it had answered as delivered is there, and nothing is there twice.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use telemill_engine::batch::Batch;
use telemill_engine::position::Cursor;
use telemill_engine::record::Record;
use telemill_engine::sink::{Sink, Submitted};

use super::harness::{Scratch, writer};
use crate::conformance::records::{NOW, TOPIC, batch, message, record};
use crate::conformance::store::{HISTORY, Open};

const ROUNDS: usize = 12;
const DEVICES: i64 = 5;
/// Where the child is told its directory and its epoch.
const DIR: &str = "TELEMILL_TEST_KILLS_DIR";
const EPOCH: &str = "TELEMILL_TEST_KILLS_EPOCH";

fn nth(offset: i64) -> Record {
    record(&format!("d{}", offset % DEVICES), TOPIC, offset, NOW + offset as u64 / 100, &format!("{{\"n\":{offset}}}"))
}

/// The batch of these offsets, behind what came before it.
fn nth_batch(from: i64, to: i64, first: bool) -> Arc<Batch> {
    let previous = [(TOPIC, from - 1, 0)];
    batch(if first { &[] } else { &previous }, (from..to).map(nth).collect())
}

/// The next offset that a guard asks for.
async fn next(store: &mut Open<impl Sink>) -> i64 {
    let Some(Cursor(cursor)) = store.writer.resume(0).await.unwrap() else { panic!("it keeps positions") };
    cursor.first().map_or(0, |entry| entry.offset + 1)
}

#[test]
fn what_was_answered_survives_kill_9_and_nothing_is_twice() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if let (Ok(dir), Ok(epoch)) = (std::env::var(DIR), std::env::var(EPOCH)) {
        return runtime.block_on(write_on(Path::new(&dir), epoch.parse().unwrap()));
    }
    let scratch = Scratch::new();
    let mut before = 0;
    for round in 0..ROUNDS {
        let answered = killed_after(scratch.path(), 2 * round + 1, 1 + round * 13 % 40);
        before = runtime.block_on(examine(scratch.path(), 2 * round + 2, answered.max(before)));
    }
}

/// Runs a process that writes, and kills it once it has answered so many batches. The last offset that it answered.
fn killed_after(dir: &Path, epoch: usize, batches: usize) -> i64 {
    let test = "embedded::kills::what_was_answered_survives_kill_9_and_nothing_is_twice";
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", test, "--nocapture"]).env(DIR, dir).env(EPOCH, epoch.to_string());
    let mut child = child.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let numbers = lines.filter_map(|line| line.unwrap().strip_prefix("answered ")?.parse::<i64>().ok());
    let mut answered = None;
    for (count, offset) in numbers.enumerate() {
        answered = Some(offset);
        if count + 1 == batches {
            // What it answers between the last line and its end is read as well.
            child.kill().unwrap();
        }
    }
    assert_eq!(child.wait().unwrap().signal(), Some(9), "it ended by itself");
    answered.expect("it answered")
}

/// Writes on from where the guard stands, a little of what is there again first, until it is killed.
async fn write_on(dir: &Path, epoch: u64) {
    let (writer, devices) = writer(dir, "t", epoch, HISTORY).await;
    let mut store = Open { writer, devices };
    let mut from = (next(&mut store).await - 7).max(0);
    let mut first = true;
    let mut in_flight = VecDeque::new();
    loop {
        if in_flight.len() == store.writer.window() {
            let (to, completion): (i64, telemill_engine::sink::Completion) = in_flight.pop_front().unwrap();
            let submitted = completion.await;
            assert!(matches!(submitted, Submitted::Delivered), "{submitted:?}");
            println!("answered {}", to - 1);
        }
        let to = from + 1 + from % 23;
        in_flight.push_back((to, store.writer.submit(nth_batch(from, to, first)).await));
        (from, first) = (to, false);
    }
}

/// Opens the directory, and compares all of it with what was written. The last offset that is there.
async fn examine(dir: &Path, epoch: usize, answered: i64) -> i64 {
    let (writer, devices) = writer(dir, "t", epoch as u64, HISTORY).await;
    let mut store = Open { writer, devices };
    let next = next(&mut store).await;
    assert!(next > answered, "{answered} was answered, and {next} is asked for");
    for device in 0..DEVICES {
        let written: Vec<_> = (0..next).filter(|offset| offset % DEVICES == device).map(nth).collect();
        let name = format!("d{device}");
        let last = written.last().map(|record| (String::from_utf8_lossy(&record.payload).into_owned(), record));
        let expect = last.map(|(payload, record)| (payload, record.received_at.as_secs()));
        assert_eq!(store.last_state(&name).await, expect);
        assert!(store.history(&name).await == written.iter().map(message).collect::<Vec<_>>(), "the history of {name}");
    }
    next - 1
}
