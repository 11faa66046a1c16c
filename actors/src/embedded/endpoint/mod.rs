//! The MQTT endpoint in the process: devices connect to it over MQTT 3.1.1 and 5, on one port.
//!
//! What it promises:
//! - A PUBACK says that the message is in the durable log, or in the dead letters, and leaves in the order in which the
//!   messages of its connection came. So the promise of no loss begins at the device.
//! - The records of one device keep the order in which it sent them, also when it connects anew while its old connection
//!   is still there.
//! - What a device sends again is produced again, with the same packet id and payload hash in its headers: nothing here
//!   guesses whether it was taken. `identity` on the session removes it.
//! - A command reaches a device that has subscribed at QoS 1 at least once; in a session that outlives its connection it
//!   survives this process, too.
//! - Memory is bounded: by the intake for all, by windows for each. When nothing behind the endpoint moves, PUBACKs are
//!   held back, pings are answered, and nobody is sent away for it.
//! - A client of any kind can harm itself alone. Whatever it sends has the answer that the standard gives.
//!
//! How it is built, from the outside in: `listener` owns the port and a task a connection (`link`), which moves bytes
//! between the socket and a pure state machine (`machine`, on `wire`). A connection takes a `seat` in the `hub`, which
//! knows all sessions (`outbox`: the commands of one; `store`: what of them is on disk). Messages meet the engine's reader
//! and acker in the `intake`. `gate` says who a client is, `access` what it may do.
//!
//! **The protocol crate.** `mqtt-protocol-core` frames, parses and builds packets; its reasons are in `wire`. Beside it
//! rumqttd acknowledges before anything is durable, and ntex-mqtt holds back pings behind unacknowledged messages.

mod access;
mod commands;
mod gate;
mod hub;
mod intake;
mod keep_alive;
mod link;
mod listener;
mod machine;
mod meters;
mod outbox;
mod peer;
mod seat;
mod settings;
mod shared;
mod source;
mod store;
mod tls;
mod wire;

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use telemill_engine::stage::BuildError;
use tokio::net::TcpListener;
use tokio::sync::OnceCell;
use tokio::time::Instant;

pub use commands::{EmbeddedCommands, EmbeddedCommandsChecked};
pub use settings::{AuthSpec, COMMANDS, EndpointSettings, EndpointSpec, LimitsSpec, TlsSpec};
pub use source::{EmbeddedAcker, EmbeddedIngress, EmbeddedIngressChecked, EmbeddedReader};

#[cfg(any(test, fuzzing))]
pub(crate) use self::machine::feed;

use self::hub::Hub;
use self::store::Store;
use super::EmbeddedConnection;

/// What the stages of a topology share of one endpoint: its settings, and the sessions, which stay while the source is
/// built anew.
pub struct Endpoint {
    settings: EndpointSettings,
    hub: Arc<Hub>,
    /// Where sessions are kept; empty until they were read.
    store: OnceCell<Store>,
    address: Mutex<Option<SocketAddr>>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("listen", &self.settings.listen).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// An endpoint that does not listen yet.
    pub fn new(settings: EndpointSettings) -> Self {
        let hub = Arc::new(Hub::new(settings.limits, settings.commands.clone()));
        Endpoint { settings, hub, store: OnceCell::new(), address: Mutex::default() }
    }

    /// Its settings.
    pub(crate) fn settings(&self) -> &EndpointSettings {
        &self.settings
    }

    /// Whether any client on this machine may connect: without TLS, and without saying who it is.
    pub fn takes_plain_clients(&self) -> bool {
        self.settings.users.is_none() && self.settings.tls.is_none()
    }

    /// Where it listens, or listened last: the port is known where the settings leave it to the system.
    pub fn address(&self) -> Option<SocketAddr> {
        *self.address.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// The sessions on disk; read by the first who asks.
    async fn store(&self, connection: &EmbeddedConnection) -> Result<Store, BuildError> {
        let read = async || {
            let store = Store::new(connection.disk().await?);
            self.hub.restore(store.load().await?, Instant::now());
            Ok::<_, BuildError>(store)
        };
        self.store.get_or_try_init(read).await.cloned()
    }

    async fn bind(&self) -> Result<TcpListener, BuildError> {
        let unavailable = |error| {
            let listen = self.settings.listen;
            BuildError::Unavailable(format!("cannot listen on {listen}: {error}; another process may have the port"))
        };
        let socket = TcpListener::bind(self.settings.listen).await.map_err(unavailable)?;
        *self.address.lock().unwrap_or_else(PoisonError::into_inner) = socket.local_addr().ok();
        Ok(socket)
    }
}
