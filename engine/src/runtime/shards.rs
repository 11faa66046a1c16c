//! The shards of one source: opened and closed as its partitions come and go.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::Addr;
use futures_util::future::{BoxFuture, FutureExt, Shared};
use tokio::sync::oneshot;

use crate::position::{Cursor, Partition};

use super::ack_book::Outstanding;
use super::directory::Directory;
use super::mailbox::{Capacity, mailbox};
use super::outlet::ShardSwitch;
use super::shard::{Group, OpenError, ShardCell};
use super::source_cell::ShardControl;
use super::supervisor::{OnFailure, StartChild, Supervisor};

/// The shards of one source.
pub(super) struct Shards {
    group: Group,
    switch: Arc<ShardSwitch>,
    directory: Directory,
    supervisor: Addr<Supervisor>,
    capacity: Capacity,
    running: Mutex<BTreeMap<Partition, Running>>,
}

/// A shard that was opened. It stays known until its end was seen: whoever waits for that may give up waiting.
#[derive(Clone)]
struct Running {
    /// Told when its actor has ended for good.
    ended: Shared<oneshot::Receiver<()>>,
    /// What it has sent. Its successor reads the journals, and must not miss what is still on its way there.
    sent: Outstanding,
}

impl Shards {
    pub(super) fn new(
        group: Group,
        switch: Arc<ShardSwitch>,
        directory: Directory,
        supervisor: Addr<Supervisor>,
        capacity: Capacity,
    ) -> Self {
        Shards { group, switch, directory, supervisor, capacity, running: Mutex::default() }
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<Partition, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ShardControl for Shards {
    fn open(&self, partition: Partition, partitions: u32) -> BoxFuture<'_, Result<Cursor, String>> {
        async move {
            self.close(partition).await;
            let common = &self.group.stages[0].common;
            let mut backoff = common.backoff();
            let (shard, cursor, sender) = loop {
                let (sender, mailbox) = mailbox(self.capacity, common.metrics.clone());
                let (group, directory) = (self.group.clone(), self.directory.clone());
                match ShardCell::open(group, partition, partitions, mailbox, directory).await {
                    Ok((shard, cursor)) => break (shard, cursor, sender),
                    Err(OpenError::Broken(why)) => return Err(why),
                    Err(OpenError::Unavailable(why)) => {
                        if backoff.failures() == 0 {
                            tracing::warn!(code = "shard_waits", topology = %common.cx.topology, partition, why, "cannot open the shard yet");
                        }
                        tokio::time::sleep(backoff.next_delay()).await;
                    }
                }
            };
            let sent = shard.sent();
            let (end, ended) = oneshot::channel();
            let cell = Box::new(shard);
            let start = StartChild { cell, on_failure: OnFailure::Drop, home: None, ended: Some(end) };
            self.supervisor.send(start).await.map_err(|_| "the topology's supervisor has ended".to_owned())?;
            self.running().insert(partition, Running { ended: ended.shared(), sent });
            self.switch.connect(partition, sender);
            Ok(cursor)
        }
        .boxed()
    }

    fn close(&self, partition: Partition) -> BoxFuture<'_, ()> {
        async move {
            self.switch.disconnect(partition);
            let running = self.running().get(&partition).cloned();
            if let Some(running) = running {
                // The sender is dropped with the child's entry if it cannot be told any more: ended all the same.
                let _ = running.ended.await;
                running.sent.none().await;
                self.running().remove(&partition);
            }
        }
        .boxed()
    }
}
