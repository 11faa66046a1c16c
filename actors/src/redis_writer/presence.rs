//! Whether the server is there, found out also while there is nothing to write.

use std::sync::Arc;
use std::time::Duration;

use redis::cmd;
use telemill_engine::peers::Peer;
use tokio::task::JoinHandle;

use crate::redis::Link;

const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Asks the server from time to time whether it is there, until it is dropped.
pub(super) struct Presence(JoinHandle<()>);

impl Presence {
    /// Asks over a link on which no batch waits.
    pub(super) fn watch(link: Arc<Link>, server: Peer) -> Self {
        Presence(tokio::spawn(async move {
            loop {
                match link.query(&cmd("PING")).await {
                    Ok(_) => server.back(),
                    Err(failure) => server.lost(failure),
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }))
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.abort();
    }
}
