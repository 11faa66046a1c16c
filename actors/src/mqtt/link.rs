//! One connection to a broker, from CONNACK to its end.
//!
//! A [`Link`] is one network connection: when it fails it is dropped, and the next one begins from nothing. What was
//! sent and what was read belong to it alone, so nothing of an old connection (a queued event, an acknowledgement)
//! can appear on a new one.

use std::time::Duration;

use futures_util::FutureExt;
use rumqttc::{ConnectReturnCode, ConnectionError, Event, EventLoop, MqttOptions, NetworkOptions, Packet, StateError};
use telemill_engine::topology::document::SecretError;
use thiserror::Error;
use tokio::time::timeout;

/// How long the broker may take to accept a connection, or what is written to it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a link came to its end, or was never made.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The broker said no.
    #[error("the broker refuses the connection: {0:?}")]
    Refused(ConnectReturnCode),
    /// A packet exceeds the limit, and so cannot be read at all: the broker will send it again and again.
    #[error("a packet of {0} bytes exceeds the packet limit; make the broker refuse such packets (`max_packet_size`)")]
    TooLarge(usize),
    /// Nobody listens there. A CONNECT was never sent.
    #[error("{0}")]
    Unreachable(String),
    /// The password cannot be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The connection is gone.
    #[error("{0}")]
    Lost(String),
}

impl From<StateError> for LinkError {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Deserialization(rumqttc::Error::PayloadSizeLimitExceeded(size)) => LinkError::TooLarge(size),
            StateError::Deserialization(rumqttc::Error::TopicNotUtf8) => LinkError::Lost(
                "the broker sent a topic that is not UTF-8, and will send it again and again; make it refuse such topics"
                    .to_owned(),
            ),
            StateError::ConnectionAborted => LinkError::Lost("the broker closed the connection".to_owned()),
            other => LinkError::Lost(other.to_string()),
        }
    }
}

impl From<ConnectionError> for LinkError {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ConnectionRefused(code) => LinkError::Refused(code),
            ConnectionError::MqttState(error) => error.into(),
            // rumqttc reports the socket's errors as these only until it is connected.
            ConnectionError::Io(error) => LinkError::Unreachable(error.to_string()),
            other => LinkError::Lost(other.to_string()),
        }
    }
}

/// An established connection.
pub struct Link {
    eventloop: EventLoop,
}

impl Link {
    /// Connects with the options as [`MqttConnection::options`](super::MqttConnection::options) gives them; also says
    /// whether the broker resumed a session.
    pub async fn connect(options: Result<MqttOptions, SecretError>) -> Result<(Link, bool), LinkError> {
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        network.set_connection_timeout(PATIENCE.as_secs());
        let mut eventloop = EventLoop::new(options?, 1);
        eventloop.set_network_options(network);
        match eventloop.poll().await? {
            Event::Incoming(Packet::ConnAck(connack)) => Ok((Link { eventloop }, connack.session_present)),
            other => Err(LinkError::Lost(format!("expected a CONNACK, not {other:?}"))),
        }
    }

    /// The next packet. Safe to cancel.
    pub async fn read(&mut self) -> Result<Packet, LinkError> {
        match self.eventloop.network.as_mut() {
            Some(network) => Ok(network.read().await?),
            None => Err(LinkError::Lost("not connected".to_owned())),
        }
    }

    /// The next packet, if it is there.
    pub fn read_now(&mut self) -> Option<Result<Packet, LinkError>> {
        self.read().now_or_never()
    }

    /// Writes packets, and flushes once behind the last. Not safe to cancel: a link whose `send` was dropped or failed
    /// is to be dropped as well.
    pub async fn send(&mut self, packets: impl IntoIterator<Item = Packet>) -> Result<(), LinkError> {
        let Some(network) = self.eventloop.network.as_mut() else {
            return Err(LinkError::Lost("not connected".to_owned()));
        };
        let write = async {
            for packet in packets {
                network.write(packet).await?;
            }
            network.flush().await
        };
        match timeout(PATIENCE, write).await {
            Ok(written) => Ok(written?),
            Err(_) => Err(LinkError::Lost("the broker does not read what is sent to it".to_owned())),
        }
    }

    /// Says goodbye and reads on until the broker has closed the connection.
    ///
    /// A socket that is closed while something in it is unread resets the connection, and the broker then drops what it
    /// has not read yet, the last acknowledgements among it.
    pub async fn leave(mut self) -> Result<(), LinkError> {
        self.send([Packet::Disconnect]).await?;
        let until_closed = async { while self.read().await.is_ok() {} };
        // A broker that does not close is left all the same.
        let _ = timeout(PATIENCE, until_closed).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_broker_has_to_be_told_is_said() {
        let check = |error, expect: &str| {
            let error = LinkError::from(StateError::Deserialization(error)).to_string();
            assert!(error.contains(expect), "{error}");
        };
        check(rumqttc::Error::TopicNotUtf8, "make it refuse such topics");
        check(rumqttc::Error::PayloadSizeLimitExceeded(300), "300 bytes exceeds the packet limit; make the broker");
    }
}
