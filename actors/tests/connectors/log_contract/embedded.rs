//! The embedded log, in a directory of the test's own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use telemill_actors::embedded::EmbeddedConnection;
use telemill_actors::embedded::dead_letters::EmbeddedDeadLetters;
use telemill_actors::embedded::router::EmbeddedRouter;
use telemill_actors::embedded::source::EmbeddedSource;
use telemill_engine::context::{CheckContext, Connection, Connections, Topics};
use telemill_services::{eventually, unique_name};

use super::{Kind, Place};
use crate::kafka_support::SOON;

pub struct Embedded {
    connection: Arc<EmbeddedConnection>,
    dir: PathBuf,
    is_kept: bool,
}

impl Embedded {
    /// In this directory, which is kept.
    pub fn in_dir(dir: &Path) -> Self {
        Embedded { connection: Arc::new(connection(dir)), dir: dir.to_owned(), is_kept: true }
    }
}

fn connection(dir: &Path) -> EmbeddedConnection {
    let spec = serde_json::from_value(json!({ "dir": dir, "min_free": "1MiB" })).unwrap();
    let (mut problems, topics) = (Vec::new(), Topics::default());
    let mut cx = CheckContext {
        name: "log",
        inputs: &[],
        connections: &Connections::new(),
        topics: &topics,
        problems: &mut problems,
    };
    EmbeddedConnection::check(spec, &mut cx).unwrap_or_else(|| panic!("{problems:?}"))
}

impl Kind for Embedded {
    type Router = EmbeddedRouter;
    type Source = EmbeddedSource;
    type DeadLetters = EmbeddedDeadLetters;

    fn new() -> Self {
        let dir = std::env::temp_dir().join(unique_name("embedded"));
        Embedded { connection: Arc::new(connection(&dir)), dir, is_kept: false }
    }

    fn connections(&self) -> Connections {
        Connections::new().with("log", self.connection.clone())
    }

    async fn remove_all(place: &Place<Self>, topic: &str, partition: i32) {
        // A topic that may hold one byte holds nothing.
        let mut place = Place { topics: place.topics.clone(), ..Place::on(Embedded::in_dir(&place.kind.dir)) };
        let retain = |place: &mut Place<Self>, bytes| {
            place.topics.declared.get_mut(topic).unwrap().retention_bytes = bytes;
        };
        retain(&mut place, Some(1));
        let router = place.router_to(topic).await;
        let journal = place.ports.journal("stage").unwrap();
        eventually(SOON, "everything to go", async || {
            journal.read(partition, 0).await.unwrap().is_empty().then_some(())
        })
        .await;
        retain(&mut place, None);
        drop(place.router_to(topic).await);
        drop(router);
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if !self.is_kept {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}
