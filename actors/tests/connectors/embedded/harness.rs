//! A data directory as the conformance suites need it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use telemill_actors::embedded::disk::Disk;
use telemill_actors::embedded::state::EmbeddedState;
use telemill_actors::embedded::store::{EmbeddedWriter, EmbeddedWriterSpec};
use telemill_actors::embedded::{EmbeddedConnection, EmbeddedConnectionSpec};
use telemill_engine::checkpoint::{Owner, StateStore};
use telemill_engine::clock::Clock;
use telemill_engine::context::{BuildContext, CheckContext, Connection, Connections, Topics};
use telemill_engine::peers::Peers;
use telemill_engine::ports::DeviceStore;
use telemill_engine::position::Epoch;
use telemill_engine::stage::Component;
use telemill_engine::topology::ByteSize;
use telemill_services::{eventually, unique_name};
use ulid::Ulid;

use crate::conformance::{state, store};

/// A directory of its own, gone with it.
pub(crate) struct EmbeddedHarness {
    disk: Arc<Disk>,
    scratch: Scratch,
}

/// A directory that is removed in the end.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        let dir = std::env::temp_dir().join(unique_name("telemill-embedded"));
        std::fs::create_dir_all(&dir).unwrap();
        Scratch(dir)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn connection(dir: &Path) -> Arc<EmbeddedConnection> {
    let spec = serde_json::json!({ "dir": dir });
    let spec: EmbeddedConnectionSpec = serde_json::from_value(spec).unwrap();
    let mut problems = Vec::new();
    let mut cx = CheckContext {
        name: "local",
        inputs: &[],
        connections: &Connections::new(),
        topics: &Topics::default(),
        problems: &mut problems,
    };
    let checked = EmbeddedConnection::check(spec, &mut cx);
    Arc::new(checked.unwrap_or_else(|| panic!("{} is refused: {problems:?}", dir.display())))
}

/// The writer of stage `writer` in a directory, once whoever had it before has let go.
pub(crate) async fn writer(
    dir: &Path,
    topology: &str,
    epoch: u64,
    history: Duration,
) -> (EmbeddedWriter, Arc<dyn DeviceStore>) {
    writer_with(dir, topology, epoch, history, None).await
}

/// The same, with a `history_size`.
pub(crate) async fn writer_with(
    dir: &Path,
    topology: &str,
    epoch: u64,
    history: Duration,
    history_size: Option<u64>,
) -> (EmbeddedWriter, Arc<dyn DeviceStore>) {
    let connection = connection(dir);
    let disk = eventually(store::DEADLINE, "the directory to be free", async || connection.disk().await.ok()).await;
    let store = EmbeddedState::new(disk);
    let connections = Connections::new().with("local", connection);
    let mut problems = Vec::new();
    let mut cx = CheckContext {
        name: "writer",
        inputs: &[],
        connections: &connections,
        topics: &Topics::default(),
        problems: &mut problems,
    };
    let history_size = history_size.map(ByteSize::from);
    let spec = EmbeddedWriterSpec { connection: "local".to_owned(), history: history.into(), history_size, window: 4 };
    let checked = EmbeddedWriter::check(spec, &mut cx);
    let checked = checked.unwrap_or_else(|| panic!("the spec is refused: {problems:?}"));
    let cx = BuildContext {
        topology: topology.into(),
        stage: "writer".into(),
        clock: Clock::system(),
        epoch: Epoch(epoch),
        topics: Arc::default(),
        marks: None,
        store: Arc::new(store),
        ports: Default::default(),
        peers: Peers::default(),
        downstream: Arc::new([]),
    };
    let writer = EmbeddedWriter::build(&checked, &cx).await.expect("the directory can be opened");
    (writer, cx.ports.device_store().expect("the writer offers its store"))
}

impl EmbeddedHarness {
    pub(crate) async fn new() -> Self {
        Self::open(Scratch::new()).await
    }

    async fn open(scratch: Scratch) -> Self {
        EmbeddedHarness { disk: connection(scratch.path()).disk().await.unwrap(), scratch }
    }

    pub(crate) fn disk(&self) -> &Arc<Disk> {
        &self.disk
    }

    pub(crate) fn dir(&self) -> &Path {
        self.scratch.path()
    }

    /// Closed, and opened again: all there is in memory is new.
    async fn reopened(self) -> Self {
        let EmbeddedHarness { disk, scratch } = self;
        eventually(store::DEADLINE, "everybody to let go of the directory", async || {
            (Arc::strong_count(&disk) == 1).then_some(())
        })
        .await;
        drop(disk);
        Self::open(scratch).await
    }
}

impl store::Harness for EmbeddedHarness {
    type Writer = EmbeddedWriter;

    async fn start() -> Self {
        Self::new().await
    }

    async fn start_own() -> Self {
        Self::new().await
    }

    async fn writer(&self, topology: &str, epoch: u64, history: Duration) -> (EmbeddedWriter, Arc<dyn DeviceStore>) {
        writer(self.scratch.path(), topology, epoch, history).await
    }

    async fn restart(self) -> Self {
        self.reopened().await
    }
}

impl state::Harness for EmbeddedHarness {
    async fn start() -> Self {
        Self::new().await
    }

    async fn start_own() -> Self {
        Self::new().await
    }

    fn store(&self) -> Arc<dyn StateStore> {
        Arc::new(EmbeddedState::new(self.disk.clone()))
    }

    fn store_with_lease(&self, lease: Duration) -> Arc<dyn StateStore> {
        Arc::new(EmbeddedState::new(self.disk.clone()).with_lease(lease))
    }

    async fn left_claimed(topology: &str) -> Self {
        let harness = Self::new().await;
        let dead = Owner { instance: Ulid::from_parts(1, 1), host: "here".to_owned(), pid: 1 };
        state::Harness::store(&harness).claim(topology, &dead).await.unwrap();
        harness.reopened().await
    }

    async fn restart(self) -> Self {
        self.reopened().await
    }
}
