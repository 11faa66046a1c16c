//! A TCP proxy that does to a connection what networks do: delay it, cut it, let it hang in one direction or both.
//!
//! What hangs is withheld, not lost: once the link is whole again it arrives, late, on connections that may have been
//! given up long ago. That is what TCP does when a cable is plugged in again.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A direction, as the engine sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the engine to the server.
    Up,
    /// From the server to the engine.
    Down,
}

/// How the link is now.
#[derive(Clone, Debug, Default)]
pub struct Condition {
    /// Nothing arrives in this direction, and nobody is told.
    pub up_hangs: bool,
    /// The same in the other.
    pub down_hangs: bool,
    /// What arrives, arrives so much later.
    pub latency: Duration,
    /// At most so many bytes a second go up.
    pub rate: Option<u64>,
}

/// Hears everything that goes through a connection, in order, before it is passed on.
pub trait Tap: Send {
    fn hear(&mut self, way: Way, bytes: &[u8]);
}

/// Makes the tap of each connection.
pub type Taps = Arc<dyn Fn() -> Arc<Mutex<dyn Tap>> + Send + Sync>;

struct State {
    condition: Condition,
    server: Option<SocketAddr>,
    connections: Vec<TcpStream>,
    /// How many connections there were.
    made: u64,
    /// All connections up to this one hang for good.
    frozen: u64,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    tap: Option<Taps>,
}

/// A link from the engine to one server. It ends with the process.
pub struct Proxy {
    shared: Arc<Shared>,
    /// Where the engine connects.
    pub address: SocketAddr,
}

impl Proxy {
    /// A whole link to a server that is named later.
    pub fn start(tap: Option<Taps>) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let state =
            State { condition: Condition::default(), server: None, connections: Vec::new(), made: 0, frozen: 0 };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), tap });
        let accepting = shared.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let shared = accepting.clone();
                thread::spawn(move || connection(&shared, client));
            }
        });
        Proxy { shared, address }
    }

    /// Says where the server is.
    pub fn leads_to(&self, server: &str) {
        self.shared.lock().server = Some(server.parse().expect("an address"));
    }

    /// Changes the link.
    pub fn set(&self, condition: Condition) {
        self.shared.lock().condition = condition;
        self.shared.changed.notify_all();
    }

    /// Has every connection that there is hang for good, both ways, while new ones do not: the other side is gone, and
    /// has said nothing.
    pub fn freeze(&self) {
        let mut state = self.shared.lock();
        state.frozen = state.made;
    }

    /// Ends every connection with a reset.
    pub fn reset(&self) {
        for connection in self.shared.lock().connections.drain(..) {
            // With it, closing sends RST instead of what is left.
            let _ = socket2::SockRef::from(&connection).set_linger(Some(Duration::ZERO));
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until bytes of a connection may go this way; how long they take, and how fast. Nothing where the connection
    /// hangs for good.
    fn passes(&self, number: u64, way: Way) -> Option<(Duration, Option<u64>)> {
        let mut state = self.lock();
        loop {
            let Condition { up_hangs, down_hangs, latency, rate } = &state.condition;
            match way {
                _ if number <= state.frozen => return None,
                Way::Up if !up_hangs => return Some((*latency, *rate)),
                Way::Down if !down_hangs => return Some((*latency, None)),
                _ => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

fn connection(shared: &Arc<Shared>, client: TcpStream) {
    let number = {
        let mut state = shared.lock();
        state.made += 1;
        state.made
    };
    // A handshake goes both ways.
    for way in [Way::Up, Way::Down] {
        shared.passes(number, way);
    }
    let server = shared.lock().server;
    let Some(Ok(server)) = server.map(|server| TcpStream::connect_timeout(&server, Duration::from_secs(5))) else {
        return;
    };
    let clone = |stream: &TcpStream| stream.try_clone().expect("a descriptor is free");
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    {
        let mut state = shared.lock();
        state.connections.retain(|connection| connection.peer_addr().is_ok());
        state.connections.extend([clone(&client), clone(&server)]);
    }
    let tap = shared.tap.as_ref().map(|make| make());
    let (up, up_tap) = (shared.clone(), tap.clone());
    let (from, to) = (clone(&client), clone(&server));
    let upward = thread::spawn(move || pump(&up, number, Way::Up, from, to, up_tap));
    pump(shared, number, Way::Down, server, client, tap);
    let _ = upward.join();
}

/// Passes on what comes from one side until it ends, then ends the other.
fn pump(
    shared: &Shared,
    number: u64,
    way: Way,
    mut from: TcpStream,
    mut to: TcpStream,
    tap: Option<Arc<Mutex<dyn Tap>>>,
) {
    let mut bytes = vec![0; 64 << 10];
    let mut free_at = Instant::now();
    loop {
        let read = match from.read(&mut bytes) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let Some((latency, rate)) = shared.passes(number, way) else { return swallow(from) };
        let mut wait = latency;
        if let Some(rate) = rate {
            free_at = free_at.max(Instant::now()) + Duration::from_secs_f64(read as f64 / rate as f64);
            wait += free_at.saturating_duration_since(Instant::now());
        }
        if !wait.is_zero() {
            thread::park_timeout(wait);
            // What was cut meanwhile hangs as well.
            if shared.passes(number, way).is_none() {
                return swallow(from);
            }
        }
        if let Some(tap) = &tap {
            tap.lock().unwrap_or_else(PoisonError::into_inner).hear(way, &bytes[..read]);
        }
        if to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    // The end hangs as everything else does.
    if shared.passes(number, way).is_some() {
        let _ = (to.shutdown(Shutdown::Write), from.shutdown(Shutdown::Read));
    }
}

/// Reads what nobody will get, so that the sender's window stays open for as long as a dead peer's would.
fn swallow(mut from: TcpStream) {
    let mut bytes = vec![0; 64 << 10];
    while from.read(&mut bytes).is_ok_and(|read| read > 0) {}
}
