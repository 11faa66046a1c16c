//! What the embedded log costs beside the database that it stands on, both durable, in one run: records a second and CPU
//! a record, for records of the same size in groups of the same size. The database has a row for each record; the log puts what
//! it appends to a partition in one go into one.
//!
//! `cargo bench -p telemill-actors --bench embedded_log`, with the directory for the data in `TMPDIR`: a disk, not
//! memory, since an fsync is what is measured.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]

#[path = "../tests/connectors/kafka_support/store.rs"]
mod store;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fjall::{CompressionType, Database, KeyspaceCreateOptions, PersistMode};
use serde_json::json;
use telemill_actors::embedded::EmbeddedConnection;
use telemill_actors::embedded::router::EmbeddedRouter;
use telemill_engine::ack::Guards;
use telemill_engine::batch::Batch;
use telemill_engine::clock::Clock;
use telemill_engine::context::{BuildContext, CheckContext, Connection, Connections, Topics};
use telemill_engine::peers::Peers;
use telemill_engine::ports::Ports;
use telemill_engine::position::Epoch;
use telemill_engine::record::Record;
use telemill_engine::sink::{Sink, Submitted};
use telemill_engine::stage::Component;
use telemill_engine::testing::record;
use telemill_services::unique_name;

const RECORDS: usize = 400_000;
/// Of a batch; the router has several in flight, so a group has up to eight times as many.
const BATCH: usize = 500;
/// About what a record of the router takes in the log, key and headers included.
const BYTES: usize = 250;

fn main() {
    println!("{RECORDS} records of {BYTES} bytes, each durable");
    println!("{:<44}{:>12}{:>16}", "", "records/s", "CPU a record");
    for batch in [BATCH, 8 * BATCH] {
        run(&format!("fjall alone, {batch} a group"), |dir| bare(dir, batch));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let batches = batches();
    let routed = |dir: &Path, in_flight| runtime.block_on(routed(dir, &batches, in_flight));
    run(&format!("router, 8 batches of {BATCH} in flight"), |dir| routed(dir, 8));
    run(&format!("router, one batch of {BATCH} at a time"), |dir| routed(dir, 1));
}

fn run(name: &str, work: impl FnOnce(&Path)) {
    let dir = std::env::temp_dir().join(unique_name("bench"));
    let (cpu, began) = (cpu_time(), Instant::now());
    work(&dir);
    let (cpu, time) = (cpu_time() - cpu, began.elapsed());
    let rate = RECORDS as f64 / time.as_secs_f64();
    println!("{name:<44}{rate:>12.0}{:>13.2} µs", cpu.as_secs_f64() * 1e6 / RECORDS as f64);
    let _ = std::fs::remove_dir_all(&dir);
}

fn bare(dir: &Path, group: usize) {
    let db = Database::builder(dir).journal_compression(CompressionType::None).open().unwrap();
    let space = db.keyspace("log", KeyspaceCreateOptions::default).unwrap();
    let value = vec![b'x'; BYTES];
    for first in (0..RECORDS).step_by(group) {
        let mut batch = db.batch().durability(Some(PersistMode::SyncAll));
        for number in first..(first + group).min(RECORDS) {
            batch.insert(&space, (number as u128).to_be_bytes(), value.as_slice());
        }
        batch.commit().unwrap();
    }
}

async fn routed(dir: &Path, batches: &[Arc<Batch>], in_flight: usize) {
    let mut router = router(dir).await;
    let mut waiting = VecDeque::new();
    for batch in batches {
        waiting.push_back(router.submit(batch.clone()).await);
        while waiting.len() >= in_flight {
            let answer = waiting.pop_front().unwrap().await;
            assert!(matches!(answer, Submitted::Delivered), "{answer:?}");
        }
    }
    for answer in waiting {
        assert!(matches!(answer.await, Submitted::Delivered));
    }
}

/// All records, as an ingress would hand them on.
fn batches() -> Vec<Arc<Batch>> {
    let payload = "x".repeat(80);
    let made = |number: usize| {
        let mut record = record(&format!("device-{}", number % 1000), number);
        record.payload = format!(r#"{{"n":{number},"x":"{payload}"}}"#).into();
        record
    };
    let batch = |first: usize| {
        let records: Vec<Record> = (first..first + BATCH).map(made).collect();
        Arc::new(Batch::new(0, records, Guards::none()))
    };
    (0..RECORDS).step_by(BATCH).map(batch).collect()
}

async fn router(dir: &Path) -> EmbeddedRouter {
    let (mut problems, topics) = (Vec::new(), Topics::default());
    let spec = serde_json::from_value(json!({ "dir": dir })).unwrap();
    let none = Connections::new();
    let mut cx =
        CheckContext { name: "log", inputs: &[], connections: &none, topics: &topics, problems: &mut problems };
    let connection = EmbeddedConnection::check(spec, &mut cx).unwrap();
    let connections = Connections::new().with("log", Arc::new(connection));
    let mut cx = CheckContext {
        name: "router",
        inputs: &[],
        connections: &connections,
        topics: &topics,
        problems: &mut problems,
    };
    let spec = serde_json::from_value(json!({ "connection": "log", "topic": "data" })).unwrap();
    let checked = EmbeddedRouter::check(spec, &mut cx).unwrap();
    let cx = BuildContext {
        topology: "bench".into(),
        stage: "router".into(),
        clock: Clock::system(),
        epoch: Epoch(1),
        topics: Arc::new(topics.clone()),
        marks: None,
        store: Arc::new(store::NoStore),
        ports: Ports::default(),
        downstream: Arc::new([]),
        peers: Peers::default(),
    };
    EmbeddedRouter::build(&checked, &cx).await.unwrap()
}

/// What this process has used, in user and system time.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // A tick is a hundredth of a second on every Linux that we build for.
    Duration::from_millis(ticks * 10)
}
