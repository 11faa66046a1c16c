//! One connection, for as long as it is of use, then the next.
//!
//! A link connects when it is asked for its connection and has none. Whoever sees a connection fail gives it up; the
//! next request gets a new one. The library's own manager is not used: it keeps a connection after a timeout or a
//! `READONLY`, and it would send what is behind a lost command to the new connection unasked.
//!
//! A connection that was given up may still hold commands, in the network or in a server that stood still. Before its
//! successor is used, the server is told to close it (`CLIENT KILL` with both its id and its address, so that never
//! another client is hit), so nothing old is executed behind something new.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Arg, AsyncConnectionConfig, Client, Cmd, RedisResult, Script, Value, cmd};
use tokio::sync::Mutex;
use tracing::{info, warn};

use super::failure::{Failure, FailureKind};
use super::{RedisConnection, evalsha};

/// The longest that connecting may take.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The slowest server, or way to it, that is waited for: bytes a second.
const SLOWEST: usize = 64 << 10;

/// Scripts that a link loads whenever it connects.
pub(crate) type Scripts = &'static [&'static LazyLock<Script>];

/// For a link whose user runs none.
pub(crate) fn no_scripts() -> Scripts {
    &[]
}

/// A connection to one server, made anew when needed.
pub(crate) struct Link {
    connection: Arc<RedisConnection>,
    scripts: Scripts,
    given_up: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    live: Option<Live>,
    made: u64,
    /// The newest connection as the server knows it, until the server was told to close it.
    peer: Option<Peer>,
}

/// A connection that works as far as is known.
#[derive(Clone)]
pub(crate) struct Live {
    connection: MultiplexedConnection,
    number: u64,
    response_timeout: Duration,
}

impl Live {
    /// Sends a command; `unanswered` bytes, its own included, are then on the way. What is large may take longer: a time that
    /// did not grow with it would never be enough for some, however often they are sent.
    pub(crate) async fn send(&mut self, command: &Cmd, unanswered: usize) -> RedisResult<Value> {
        let on_the_way = Duration::from_secs_f64(unanswered as f64 / SLOWEST as f64);
        self.connection.set_response_timeout(self.response_timeout + on_the_way);
        self.connection.send_packed_command(command).await
    }
}

/// The bytes of a command's arguments.
pub(crate) fn size(command: &Cmd) -> usize {
    let bytes = |arg| if let Arg::Simple(bytes) = arg { <[u8]>::len(bytes) } else { 0 };
    command.args_iter().map(bytes).sum()
}

/// A connection as the server knows it.
struct Peer {
    id: String,
    addr: String,
}

impl Link {
    /// A link that connects when it is first used.
    pub(crate) fn new(connection: Arc<RedisConnection>, scripts: Scripts) -> Self {
        Link { connection, scripts, given_up: AtomicU64::new(0), state: Mutex::default() }
    }

    /// `host:port/database`.
    pub(crate) fn address(&self) -> &str {
        self.connection.address()
    }

    pub(super) fn connection(&self) -> &RedisConnection {
        &self.connection
    }

    /// What an error on this link means.
    pub(crate) fn failure(&self, error: &redis::RedisError) -> Failure {
        Failure::new(self.address(), error)
    }

    /// The connection, made now if there is none.
    pub(crate) async fn get(&self) -> Result<Live, Failure> {
        let mut state = self.state.lock().await;
        if let Some(live) = &state.live
            && live.number > self.given_up.load(Ordering::Acquire)
        {
            return Ok(live.clone());
        }
        state.live = None;
        let limit = CONNECT_TIMEOUT.min(self.connection.response_timeout);
        let connecting = self.connect(&mut state, limit);
        let connection = match tokio::time::timeout(limit, connecting).await {
            Ok(connected) => connected?,
            Err(_) => return Err(Failure::timeout(self.address(), "connecting")),
        };
        state.made += 1;
        let live = Live { connection, number: state.made, response_timeout: self.connection.response_timeout };
        state.live = Some(live.clone());
        Ok(live)
    }

    /// This connection is of no more use.
    pub(crate) fn give_up(&self, live: &Live) {
        self.given_up.fetch_max(live.number, Ordering::AcqRel);
    }

    /// Sends one command. A failure that loses the connection gives it up.
    pub(crate) async fn query(&self, command: &Cmd) -> Result<Value, Failure> {
        let mut live = self.get().await?;
        let sent = live.send(command, size(command)).await;
        self.judge(&live, sent)
    }

    /// What came back on a connection; one that is lost is given up.
    pub(crate) fn judge(&self, live: &Live, sent: RedisResult<Value>) -> Result<Value, Failure> {
        sent.and_then(Value::extract_error).map_err(|error| {
            let failure = self.failure(&error);
            if failure.lost() {
                self.give_up(live);
            }
            failure
        })
    }

    /// Runs a script, loading it where the server does not have it.
    pub(crate) async fn run(&self, script: &Script, keys: &[&str], args: &[&[u8]]) -> Result<Value, Failure> {
        let bytes = args.iter().map(|arg| arg.len()).sum();
        let mut command = evalsha(script, keys, args.len(), bytes);
        for arg in args {
            command.arg(arg);
        }
        match self.query(&command).await {
            Err(Failure { kind: FailureKind::NoScript, .. }) => {
                self.load(script).await?;
                self.query(&command).await
            }
            answered => answered,
        }
    }

    /// Puts a script into the server's cache.
    pub(crate) async fn load(&self, script: &Script) -> Result<(), Failure> {
        let mut live = self.get().await?;
        let loaded = script.load_async(&mut live.connection).await;
        self.judge(&live, loaded.map(|_| Value::Nil)).map(drop)
    }

    async fn connect(&self, state: &mut State, limit: Duration) -> Result<MultiplexedConnection, Failure> {
        let failure = |error| self.failure(&error);
        let client = Client::open(self.connection.info.clone()).map_err(failure)?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(limit))
            .set_response_timeout(Some(self.connection.response_timeout));
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await.map_err(failure)?;
        if let Some(peer) = &state.peer {
            let mut kill = cmd("CLIENT");
            kill.arg("KILL").arg("ID").arg(&peer.id).arg("ADDR").arg(&peer.addr);
            // A server that does not know the connection any more, or does not let us, changes nothing: what is written
            // has a guard.
            let _ = kill.exec_async(&mut connection).await;
            info!(code = "redis_reconnected", address = self.address(), "connected to redis again");
        }
        let known: String = cmd("CLIENT").arg("INFO").query_async(&mut connection).await.unwrap_or_default();
        state.peer = peer(&known);
        // Not everybody may ask for it.
        let server: String = cmd("INFO").query_async(&mut connection).await.unwrap_or_default();
        self.inspect(&server, state.made == 0)?;
        for script in self.scripts {
            script.load_async(&mut connection).await.map_err(failure)?;
        }
        Ok(connection)
    }

    /// Refuses a node of a cluster; warns of a server that may evict what is kept there.
    fn inspect(&self, server: &str, first: bool) -> Result<(), Failure> {
        let field = |name: &str| server.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        if field("redis_mode") == Some("cluster") {
            return Err(Failure::denied(format!(
                "redis at {} is a node of a Redis Cluster, which cannot hold the guard: no script writes keys of several \
                 slots atomically; name a single server",
                self.address()
            )));
        }
        let evicts = field("maxmemory").is_some_and(|limit| limit != "0")
            && field("maxmemory_policy").is_some_and(|policy| policy != "noeviction");
        if evicts && first {
            warn!(
                code = "redis_evicts",
                address = self.address(),
                policy = field("maxmemory_policy"),
                "redis may evict positions and state when its memory is full; set maxmemory-policy to noeviction"
            );
        }
        Ok(())
    }
}

/// Reads the line that `CLIENT INFO` gives.
fn peer(line: &str) -> Option<Peer> {
    let field = |name| line.split(' ').find_map(|word| word.strip_prefix(name)).map(str::to_owned);
    Some(Peer { id: field("id=")?, addr: field("addr=")? })
}
