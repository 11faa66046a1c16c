//! Redis as the conformance suites need it.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use telemill_actors::redis_state::RedisState;
use telemill_actors::redis_writer::RedisWriter;
use telemill_engine::checkpoint::{Owner, StateStore};
use telemill_engine::ports::DeviceStore;
use telemill_engine::stage::Component;
use telemill_services::{Redis, Services};
use ulid::Ulid;

use super::{DEADLINE, connection, context, writer_config};
use crate::conformance::{state, store};

/// The shared server, or one of its own.
pub(crate) struct RedisHarness {
    own: Option<Redis>,
}

impl RedisHarness {
    fn shared() -> Self {
        RedisHarness { own: None }
    }

    /// One that keeps what it answered.
    fn own() -> Self {
        RedisHarness { own: Some(Redis::start_with(&["--set", "appendfsync always"])) }
    }

    fn url(&self) -> String {
        self.own.as_ref().map_or_else(|| Services::shared().redis_url().to_owned(), Redis::url)
    }

    fn killed(self) -> Self {
        let server = self.own.as_ref().expect("a shared server is not killed");
        server.kill9();
        server.restart();
        self
    }
}

impl store::Harness for RedisHarness {
    type Writer = RedisWriter;

    async fn start() -> Self {
        Self::shared()
    }

    async fn start_own() -> Self {
        Self::own()
    }

    async fn writer(&self, topology: &str, epoch: u64, history: Duration) -> (RedisWriter, Arc<dyn DeviceStore>) {
        let url = self.url();
        let cx = context(&url, topology, epoch);
        let config = writer_config(connection(&url, DEADLINE), history);
        let writer = RedisWriter::build(&config, &cx).await.expect("the server is there");
        (writer, cx.ports.device_store().expect("the writer offers its store"))
    }

    async fn restart(self) -> Self {
        self.killed()
    }
}

impl state::Harness for RedisHarness {
    async fn start() -> Self {
        Self::shared()
    }

    async fn start_own() -> Self {
        Self::own()
    }

    fn store(&self) -> Arc<dyn StateStore> {
        Arc::new(RedisState::new(connection(&self.url(), DEADLINE)))
    }

    fn store_with_lease(&self, lease: Duration) -> Arc<dyn StateStore> {
        Arc::new(RedisState::new(connection(&self.url(), DEADLINE)).with_lease(lease))
    }

    async fn left_claimed(topology: &str) -> Self {
        let harness = Self::shared();
        let mut process = Command::new("true").spawn().unwrap();
        let dead = Owner { instance: Ulid::from_parts(1, 1), host: "here".to_owned(), pid: process.id() };
        process.wait().unwrap();
        state::Harness::store(&harness).claim(topology, &dead).await.unwrap();
        harness
    }

    async fn restart(self) -> Self {
        self.killed()
    }
}
