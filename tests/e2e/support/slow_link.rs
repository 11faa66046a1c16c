//! A link to a server that carries only so much.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::let_pass;

/// In so many portions a second the bytes go up.
const PORTIONS: usize = 20;

/// Passes connections on to a server, each at most so many bytes a second up to it; what comes back is not held up. It
/// takes no connections after its value is gone.
pub struct SlowLink {
    port: u16,
    limit: Arc<AtomicUsize>,
    is_gone: Arc<AtomicBool>,
}

impl SlowLink {
    /// A link to `127.0.0.1:server` that carries everything.
    pub fn to(server: u16) -> SlowLink {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let (limit, is_gone) = (Arc::new(AtomicUsize::new(usize::MAX)), Arc::<AtomicBool>::default());
        let (carries, gone) = (limit.clone(), is_gone.clone());
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if gone.load(Ordering::Acquire) {
                    return;
                }
                // The server may be down: then so is the link.
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                let clone = |stream: &TcpStream| stream.try_clone().expect("a descriptor is left");
                let (from_server, to_client) = (clone(&server), clone(&client));
                let carries = carries.clone();
                thread::spawn(move || carry(client, server, || carries.load(Ordering::Acquire)));
                thread::spawn(move || carry(from_server, to_client, || usize::MAX));
            }
        });
        SlowLink { port, limit, is_gone }
    }

    /// As a Redis server's address.
    pub fn redis_url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Carries so many bytes a second from now on, or everything.
    pub fn carry(&self, bytes_a_second: Option<usize>) {
        self.limit.store(bytes_a_second.unwrap_or(usize::MAX), Ordering::Release);
    }
}

impl Drop for SlowLink {
    fn drop(&mut self) {
        self.is_gone.store(true, Ordering::Release);
        // Wakes who waits for connections; it may be gone already.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, limit: impl Fn() -> usize) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let limit = limit();
        let portion = (limit / PORTIONS).clamp(1, buffer.len());
        match from.read(&mut buffer[..portion]) {
            Ok(count @ 1..) if to.write_all(&buffer[..count]).is_ok() => {
                if limit != usize::MAX {
                    let_pass(Duration::from_secs_f64(count as f64 / limit as f64));
                }
            }
            _ => break,
        }
    }
    // Whichever way ends first ends the other.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
