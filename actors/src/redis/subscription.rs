//! A channel of the server, heard on a connection of its own.

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use redis::Client;

use super::failure::Failure;
use super::link::{CONNECT_TIMEOUT, Link};

impl Link {
    /// Everything that is published to a channel from when this returns on. The library keeps what was not read yet
    /// without a bound: read at once, always. The end of the stream is the end of its connection.
    pub(crate) async fn subscribe(&self, channel: &str) -> Result<BoxStream<'static, Bytes>, Failure> {
        let failure = |error| self.failure(&error);
        let subscribing = async {
            let client = Client::open(self.connection().info.clone()).map_err(failure)?;
            let mut heard = client.get_async_pubsub().await.map_err(failure)?;
            heard.subscribe(channel).await.map_err(failure)?;
            Ok(heard.into_on_message().map(|message| Bytes::copy_from_slice(message.get_payload_bytes())).boxed())
        };
        let limit = CONNECT_TIMEOUT.min(self.connection().response_timeout);
        match tokio::time::timeout(limit, subscribing).await {
            Ok(subscribed) => subscribed,
            Err(_) => Err(Failure::timeout(self.address(), "subscribing")),
        }
    }
}
