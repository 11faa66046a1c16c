//! A proxy to a broker behind which connections that fetch can go silent, as on a link that is half open.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::SOON;

/// The key of the Fetch request in Kafka's protocol.
const FETCH: [u8; 2] = 1i16.to_be_bytes();

/// Passes requests on, as long as it is not told to swallow those that fetch.
pub struct FetchHole {
    listener: TcpListener,
    swallows: Arc<Swallowing>,
}

#[derive(Default)]
struct Swallowing {
    is_wanted: AtomicBool,
    /// A fetch was swallowed.
    has_begun: AtomicBool,
}

/// The proxy at work; it ends with its value.
pub struct Open {
    swallows: Arc<Swallowing>,
    task: JoinHandle<()>,
}

impl FetchHole {
    /// Binds its port, which the broker has to advertise.
    pub async fn bind() -> FetchHole {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        FetchHole { listener, swallows: Arc::default() }
    }

    pub fn address(&self) -> String {
        self.listener.local_addr().unwrap().to_string()
    }

    /// Lets connections through to the broker at `port`.
    pub fn open_to(self, port: u16) -> Open {
        let FetchHole { listener, swallows } = self;
        let flag = swallows.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
                let ((from_client, mut to_client), (mut from_server, to_server)) =
                    (client.into_split(), server.into_split());
                tokio::spawn(requests(from_client, to_server, flag.clone()));
                tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
            }
        });
        Open { swallows, task }
    }
}

impl Open {
    /// From now on a connection falls silent for good with the next fetch on it; returns when one has. What is fetched
    /// is not what was on its way before.
    pub async fn swallow(&self) {
        self.swallows.is_wanted.store(true, Ordering::SeqCst);
        let begun = || self.swallows.has_begun.load(Ordering::SeqCst).then_some(());
        telemill_services::eventually(SOON, "a fetch to be swallowed", async || begun()).await;
    }

    /// New connections are let through whole.
    pub fn let_through(&self) {
        self.swallows.is_wanted.store(false, Ordering::SeqCst);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Passes request after request: four bytes of length, then as many, of which the first two are the request's key.
async fn requests(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, swallows: Arc<Swallowing>) {
    let mut is_silent = false;
    loop {
        let mut length = [0; 4];
        if from.read_exact(&mut length).await.is_err() {
            return;
        }
        let mut request = vec![0; u32::from_be_bytes(length) as usize];
        if from.read_exact(&mut request).await.is_err() {
            return;
        }
        is_silent |= request.starts_with(&FETCH) && swallows.is_wanted.load(Ordering::SeqCst);
        if is_silent {
            swallows.has_begun.store(true, Ordering::SeqCst);
            continue;
        }
        if to.write_all(&length).await.is_err() || to.write_all(&request).await.is_err() {
            return;
        }
    }
}
