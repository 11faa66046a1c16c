//! The task that owns the endpoint's port, all its connections, and its clock.
//!
//! The endpoint itself is the proof that devices are heard: while this task runs, connections are read, and no message
//! waits too long for its acknowledgement, a mark a second says that time has passed (`docs/formats.md`, "Time").

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

use super::intake::Level;
use super::link::Link;
use super::peer::Peer;
use super::shared::Shared;
use super::tls;
use super::wire::Code;
use crate::ingress::pulse::Pulse;

/// Marks are a second apart.
const MARK_EVERY: Duration = Duration::from_secs(1);
/// How long a message may wait for its acknowledgement before time is said to stand.
const MOVING: Duration = Duration::from_secs(10);
/// How many connections may be in the making, or at their end, beside those that are let in.
const OPENING: usize = 2048;
/// How long the port rests when the process has no room for one more connection.
const REST: Duration = Duration::from_millis(100);
/// How long all connections together may take to end.
const END_WITHIN: Duration = Duration::from_secs(8);

/// The endpoint while it listens.
pub(crate) struct Listener {
    pub(crate) shared: Arc<Shared>,
    pub(crate) socket: TcpListener,
    pub(crate) tls: Option<TlsAcceptor>,
    /// Tells it to stop.
    pub(crate) stop: Arc<Notify>,
}

impl Listener {
    /// Listens until it is told to stop; every connection has ended then.
    pub(crate) async fn run(self) {
        let Shared { topology, stage, intake, meters, .. } = &*self.shared;
        if let Ok(address) = self.socket.local_addr() {
            info!(code = "mqtt_endpoint::listening", %topology, %stage, %address, tls = self.tls.is_some(), "devices can connect");
        }
        let mut pulse = Pulse::new(MOVING, Instant::now());
        pulse.serves(Instant::now(), self.shared.now());
        intake.serves();
        let mut links = JoinSet::new();
        let mut ticks = tokio::time::interval_at(Instant::now() + MARK_EVERY, MARK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.stop.notified() => break,
                accepted = self.socket.accept() => self.accepted(accepted, &mut links).await,
                _ = ticks.tick() => self.tick(&mut pulse),
                Some(ended) = links.join_next(), if !links.is_empty() => {
                    if let Err(error) = ended && error.is_panic() {
                        warn!(code = "mqtt_endpoint::panic", %topology, %stage, "a connection's task panicked and is gone");
                    }
                }
            }
        }
        drop(self.socket);
        self.shared.hub.dismiss(Code::SHUTTING_DOWN);
        let all = async { while links.join_next().await.is_some() {} };
        // What has not ended by then is cut.
        let _ = tokio::time::timeout(END_WITHIN, all).await;
        meters.connections.set(0.0);
    }

    async fn accepted(&self, accepted: io::Result<(TcpStream, SocketAddr)>, links: &mut JoinSet<()>) {
        let Shared { topology, stage, meters, hub, .. } = &*self.shared;
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(code = "mqtt_endpoint::accept", %topology, %stage, %error, "a connection cannot be taken");
                tokio::time::sleep(REST).await;
                return;
            }
        };
        if links.len().saturating_sub(hub.counts().0) >= OPENING {
            meters.refused(Code::SERVER_BUSY).increment(1);
            return;
        }
        // Best effort: without them a command waits a little, or a dead connection is found later.
        let _ = stream.set_nodelay(true);
        let keep_alive = TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15));
        let _ = SockRef::from(&stream).set_tcp_keepalive(&keep_alive);
        let (shared, tls) = (self.shared.clone(), self.tls.clone());
        links.spawn(async move {
            match tls {
                None => Link::new(stream, from, shared).run(Vec::new()).await,
                // Boxed, so that a connection without TLS does not take the room of one with it.
                Some(tls) => Box::pin(secure(tls, stream, from, shared)).await,
            }
        });
    }

    /// A second has passed.
    fn tick(&self, pulse: &mut Pulse) {
        let Shared { hub, intake, meters, .. } = &*self.shared;
        let now = Instant::now();
        let (changes, wills) = hub.tick(now);
        self.shared.commit_behind(changes);
        for (client, will) in wills {
            debug!(code = "mqtt_endpoint::will", client = &*client, "a will that was held back is said");
            intake.put(&mut vec![self.shared.draft_of_will(will)], &Arc::new(Peer::new()), self.shared.now());
        }
        let (connected, sessions) = hub.counts();
        meters.connections.set(connected as f64);
        meters.sessions.set(sessions as f64);

        pulse.heard(now);
        let reading = intake.level() != Level::Full;
        if let Some(span) = pulse.beat(now, self.shared.now(), true, reading, intake.oldest()) {
            intake.put_mark(span);
        }
    }
}

async fn secure(tls: TlsAcceptor, stream: TcpStream, from: SocketAddr, shared: Arc<Shared>) {
    match tokio::time::timeout(shared.limits.connect_within, tls.accept(stream)).await {
        Ok(Ok(stream)) => {
            let names = tls::names(stream.get_ref().1.peer_certificates());
            Link::new(stream, from, shared).run(names).await;
        }
        Ok(Err(error)) => {
            debug!(code = "mqtt_endpoint::tls", %from, %error, "a TLS handshake failed");
            shared.meters.refused(Code::NOT_AUTHORIZED).increment(1);
        }
        Err(_) => shared.meters.refused(Code::KEEP_ALIVE_TIMEOUT).increment(1),
    }
}
