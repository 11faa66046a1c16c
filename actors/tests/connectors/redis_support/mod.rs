//! What the tests of everything on Redis share: checked connections, the harness of the suites, a plain client, a subscriber.

mod harness;
mod proxy;
mod refusal;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, Client};
use telemill_actors::redis::{RedisConnection, RedisSpec};
use telemill_actors::redis_state::RedisState;
use telemill_actors::redis_writer::{RedisWriter, RedisWriterConfig, RedisWriterSpec};
use telemill_engine::clock::Clock;
use telemill_engine::context::{BuildContext, CheckContext, Connection, Connections, Topics};
use telemill_engine::position::Epoch;
use telemill_engine::registry::StoreComponent;
use telemill_engine::stage::{BuildError, Component};

use crate::conformance::store::HISTORY;
pub(crate) use harness::RedisHarness;
pub(crate) use proxy::Proxy;
pub(crate) use refusal::Refusal;

/// Longer than anything takes on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) fn connection(url: &str, response_timeout: Duration) -> Arc<RedisConnection> {
    let mut problems = Vec::new();
    let spec = RedisSpec { url: url.to_owned(), response_timeout: response_timeout.into() };
    let mut cx = CheckContext {
        name: "state",
        inputs: &[],
        connections: &Connections::new(),
        topics: &Topics::default(),
        problems: &mut problems,
    };
    let checked = RedisConnection::check(spec, &mut cx);
    Arc::new(checked.unwrap_or_else(|| panic!("{url} is refused: {problems:?}")))
}

pub(crate) fn context(url: &str, topology: &str, epoch: u64) -> BuildContext {
    BuildContext {
        topology: topology.into(),
        stage: "writer".into(),
        clock: Clock::system(),
        epoch: Epoch(epoch),
        topics: Arc::default(),
        marks: None,
        store: RedisState::new(connection(url, DEADLINE)).into_store(),
        ports: Default::default(),
        downstream: Arc::new([]),
        peers: Default::default(),
    }
}

/// A window of 4.
pub(crate) fn writer_config(connection: Arc<RedisConnection>, history: Duration) -> RedisWriterConfig {
    let spec = RedisWriterSpec { connection: "state".to_owned(), history: history.into(), window: 4 };
    let mut problems = Vec::new();
    let connections = Connections::new().with("state", connection);
    let mut cx = CheckContext {
        name: "writer",
        inputs: &[],
        connections: &connections,
        topics: &Topics::default(),
        problems: &mut problems,
    };
    let checked = RedisWriter::check(spec, &mut cx);
    checked.unwrap_or_else(|| panic!("the spec is refused: {problems:?}"))
}

pub(crate) async fn build_writer(url: &str, timeout: Duration, cx: &BuildContext) -> Result<RedisWriter, BuildError> {
    RedisWriter::build(&writer_config(connection(url, timeout), HISTORY), cx).await
}

pub(crate) async fn writer(url: &str, topology: &str, epoch: u64) -> RedisWriter {
    build_writer(url, DEADLINE, &context(url, topology, epoch)).await.expect("the server is there")
}

/// A plain client.
pub(crate) async fn client(url: &str) -> MultiplexedConnection {
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(DEADLINE));
    let client = Client::open(url).unwrap();
    client.get_multiplexed_async_connection_with_config(&config).await.expect("the server is there")
}

/// Hears every notification to devices whose name begins with `prefix`.
pub(crate) struct Subscriber {
    heard: PubSub,
    url: String,
    end: String,
}

impl Subscriber {
    pub(crate) async fn new(url: &str, prefix: &str) -> Self {
        let mut heard = Client::open(url).unwrap().get_async_pubsub().await.unwrap();
        heard.psubscribe(format!("device-updates:{prefix}*")).await.unwrap();
        Subscriber { heard, url: url.to_owned(), end: format!("device-updates:{prefix}-end") }
    }

    /// All that was published up to now, in order.
    pub(crate) async fn heard(&mut self) -> Vec<String> {
        let mut client = client(&self.url).await;
        let _: () = redis::cmd("PUBLISH").arg(&self.end).arg("").query_async(&mut client).await.unwrap();
        let mut messages = Vec::new();
        let mut stream = self.heard.on_message();
        loop {
            let next = tokio::time::timeout(DEADLINE, stream.next()).await.expect("the end is heard");
            let message = next.expect("the subscription lasts");
            if message.get_channel_name() == self.end {
                return messages;
            }
            messages.push(message.get_payload().unwrap());
        }
    }
}
