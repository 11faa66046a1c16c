//! The bare loop from Kafka to Redis: rdkafka → redis, with the commands of the leg and nothing else.
//!
//! A member of a consumer group takes what is there and what follows within a millisecond, up to 500 records; each batch
//! is one pipeline on one connection, with one HSET, ZADD, trim and EXPIRE a device and one PUBLISH a record; several are
//! in flight, and an offset is committed when its batch was answered. No guard (a batch that is repeated has its effect
//! again), no order over a failed batch, no metrics or supervision. What fails ends the process.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use redis::aio::MultiplexedConnection;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::site::{HISTORY, Site};
use crate::subject::READY;

const BATCH: usize = 500;
const IN_FLIGHT: usize = 4;
/// How long a batch that is not full waits for what comes next, as the engine's source does.
const GATHER: Duration = Duration::from_millis(1);

#[derive(Deserialize)]
struct Message<'a> {
    device_id: &'a str,
    #[serde(borrow)]
    payload: &'a RawValue,
    timestamp: u64,
}

/// Messages, and where each partition goes on behind them.
struct Batch {
    values: Vec<Vec<u8>>,
    next: HashMap<i32, i64>,
}

/// Runs until SIGTERM.
pub fn main(site: &Site) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run(site))
}

async fn run(site: &Site) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let connection = redis::Client::open(site.redis())?.get_multiplexed_async_connection().await?;
    let consumer: BaseConsumer = site
        .kafka_client()
        .set("group.id", site.name())
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.offset.store", "false")
        .set("auto.commit.interval.ms", "500")
        .create()?;
    let consumer = Arc::new(consumer);
    let topic = site.topic();
    consumer.subscribe(&[&topic])?;
    let (batches, mut received) = mpsc::channel(IN_FLIGHT);
    let stop = Arc::new(AtomicBool::new(false));
    let reader = {
        let (consumer, stop) = (consumer.clone(), stop.clone());
        std::thread::spawn(move || read(&consumer, &batches, &stop))
    };
    tokio::spawn(async move {
        terminate.recv().await;
        stop.store(true, Ordering::Relaxed);
    });
    let mut in_flight = FuturesOrdered::new();
    loop {
        tokio::select! {
            Some(batch) = received.recv(), if in_flight.len() < IN_FLIGHT => {
                in_flight.push_back(write(connection.clone(), batch));
            }
            Some(written) = in_flight.next(), if !in_flight.is_empty() => {
                let mut offsets = TopicPartitionList::new();
                for (partition, next) in written? {
                    offsets.add_partition_offset(&topic, partition, Offset::Offset(next))?;
                }
                consumer.store_offsets(&offsets)?;
            }
            else => break,
        }
    }
    reader.join().map_err(|_| anyhow::anyhow!("the reading thread panicked"))?
}

/// Reads until told to stop: what is there and what follows at once, up to a batch.
fn read(consumer: &BaseConsumer, batches: &mpsc::Sender<Batch>, stop: &AtomicBool) -> anyhow::Result<()> {
    let mut ready = false;
    while !stop.load(Ordering::Relaxed) {
        let mut batch = Batch { values: Vec::new(), next: HashMap::new() };
        let mut patience = Duration::from_millis(100);
        let mut gathered = false;
        while batch.values.len() < BATCH {
            match consumer.poll(patience) {
                Some(message) => {
                    let message = message?;
                    batch.values.push(message.payload().unwrap_or_default().to_vec());
                    batch.next.insert(message.partition(), message.offset() + 1);
                    patience = Duration::ZERO;
                }
                None if batch.values.is_empty() || gathered => break,
                None => {
                    std::thread::sleep(GATHER);
                    gathered = true;
                }
            }
        }
        if !ready && consumer.assignment()?.count() > 0 {
            println!("{READY}");
            ready = true;
        }
        if !batch.values.is_empty() && batches.blocking_send(batch).is_err() {
            break;
        }
    }
    Ok(())
}

/// Writes a batch; where each partition goes on behind it.
async fn write(mut connection: MultiplexedConnection, batch: Batch) -> anyhow::Result<HashMap<i32, i64>> {
    let messages: Result<Vec<Message<'_>>, _> =
        batch.values.iter().map(|value| serde_json::from_slice(value)).collect();
    let messages = messages?;
    let mut devices: Vec<(&str, Vec<usize>)> = Vec::new();
    let mut places = HashMap::new();
    for (index, message) in messages.iter().enumerate() {
        match places.entry(message.device_id) {
            Entry::Vacant(vacant) => {
                vacant.insert(devices.len());
                devices.push((message.device_id, vec![index]));
            }
            Entry::Occupied(place) => devices[*place.get()].1.push(index),
        }
    }
    let mut pipe = redis::pipe();
    for (device, indices) in &devices {
        let newest = &messages[indices[indices.len() - 1]];
        pipe.cmd("HSET").arg(format!("device:last_state:{device}")).arg("payload").arg(newest.payload.get());
        pipe.arg("timestamp").arg(newest.timestamp).ignore();
        let history = format!("device:history:{device}");
        pipe.cmd("ZADD").arg(&history);
        for index in indices {
            pipe.arg(messages[*index].timestamp).arg(&batch.values[*index]);
        }
        pipe.ignore();
        let oldest = newest.timestamp.saturating_sub(HISTORY);
        pipe.cmd("ZREMRANGEBYSCORE").arg(&history).arg("-inf").arg(format!("({oldest}")).ignore();
        pipe.cmd("EXPIRE").arg(&history).arg(HISTORY).ignore();
    }
    for (message, value) in messages.iter().zip(&batch.values) {
        pipe.cmd("PUBLISH").arg(format!("device-updates:{}", message.device_id)).arg(value).ignore();
    }
    let () = pipe.query_async(&mut connection).await?;
    Ok(batch.next)
}
