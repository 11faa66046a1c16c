//! The store of devices in Redis: the contract, the exact keys, and what only a server brings: outages, foreign keys.

mod contract;
mod guard;
mod outage;

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use telemill_actors::redis_writer::RedisWriter;
use telemill_engine::batch::Batch;
use telemill_engine::sink::{Sink, Submitted};

use crate::conformance::store::store_suite;
use crate::redis_support::RedisHarness;

store_suite!(RedisHarness);

async fn submit(writer: &mut RedisWriter, batch: &Arc<Batch>) -> Submitted {
    writer.submit(batch.clone()).await.await
}

async fn deliver(writer: &mut RedisWriter, batch: &Arc<Batch>) {
    let submitted = submit(writer, batch).await;
    assert!(matches!(submitted, Submitted::Delivered), "{submitted:?}");
}

/// All fields of a hash, by name.
async fn hash(client: &mut MultiplexedConnection, key: &str) -> Vec<(String, String)> {
    let mut fields: Vec<_> = redis::cmd("HGETALL").arg(key).query_async(client).await.unwrap();
    fields.sort();
    fields
}

/// All members of a sorted set with their scores, lowest first.
async fn sorted_set(client: &mut MultiplexedConnection, key: &str) -> Vec<(String, u64)> {
    let mut command = redis::cmd("ZRANGE");
    command.arg(key).arg(0).arg(-1).arg("WITHSCORES").query_async(client).await.unwrap()
}

fn owned(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
