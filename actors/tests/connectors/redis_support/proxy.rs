//! A connection to a server that can be cut at any byte.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Passes connections on to a server, and cuts them all once a number of bytes has gone up to it or come back.
pub(crate) struct Proxy {
    port: u16,
    limits: Arc<Limits>,
}

struct Limits {
    /// How many bytes may still go up to the server.
    up: AtomicU64,
    /// How many may still come back.
    down: AtomicU64,
    /// How many pass in a second, each way.
    rate: AtomicU64,
}

impl Proxy {
    /// A proxy to `127.0.0.1:port` that cuts nothing yet.
    pub(crate) async fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let limits = Arc::new(Limits {
            up: AtomicU64::new(u64::MAX),
            down: AtomicU64::new(u64::MAX),
            rate: AtomicU64::new(u64::MAX),
        });
        let shared = limits.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                tokio::spawn(pass(client, server, shared.clone()));
            }
        });
        Proxy { port, limits }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Cuts the connection once that many more bytes have gone up, or come down; later ones are whole.
    pub(crate) fn cut_after(&self, up: u64, down: u64) {
        self.limits.up.store(up, Ordering::SeqCst);
        self.limits.down.store(down, Ordering::SeqCst);
    }

    /// From now on no more bytes pass in a second, each way.
    pub(crate) fn slow_down(&self, rate: u64) {
        self.limits.rate.store(rate, Ordering::SeqCst);
    }
}

async fn pass(mut client: TcpStream, mut server: TcpStream, limits: Arc<Limits>) {
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let up = some_of(&mut from_client, &mut to_server, &limits.up, &limits.rate);
    let down = some_of(&mut from_server, &mut to_client, &limits.down, &limits.rate);
    // Whichever ends first, both sides are closed.
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}

async fn some_of(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    limit: &AtomicU64,
    rate: &AtomicU64,
) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let rate = rate.load(Ordering::SeqCst);
        if rate != u64::MAX {
            tokio::time::sleep(Duration::from_secs_f64(count as f64 / rate as f64)).await;
        }
        let left = limit.load(Ordering::SeqCst);
        let passed = count.min(usize::try_from(left).unwrap_or(usize::MAX));
        if to.write_all(&buffer[..passed]).await.is_err() {
            return;
        }
        if passed < count {
            limit.store(u64::MAX, Ordering::SeqCst);
            return;
        }
        if left != u64::MAX {
            limit.store(left - passed as u64, Ordering::SeqCst);
        }
    }
}
