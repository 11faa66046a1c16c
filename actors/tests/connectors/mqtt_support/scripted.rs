//! A broker that does what a test tells it, for what a real one cannot be made to show: packets that are lost, answers
//! that never come, exactly what was sent when.

use bytes::BytesMut;
use rumqttc::{ConnAck, ConnectReturnCode, Packet, Publish, QoS, SubAck, SubscribeReasonCode, UnsubAck};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::soon;

/// Listens.
pub struct Scripted(TcpListener);

/// One client's connection.
pub struct Peer {
    stream: TcpStream,
    read: BytesMut,
    pub client_id: String,
    pub clean_session: bool,
}

impl Scripted {
    pub async fn start() -> Scripted {
        Scripted(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub fn url(&self) -> String {
        format!("mqtt://{}", self.0.local_addr().unwrap())
    }

    /// The next connection, with its CONNECT read and not answered.
    pub async fn connection(&self) -> Peer {
        let (stream, _) = soon("a connection", self.0.accept()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut peer = Peer { stream, read: BytesMut::new(), client_id: String::new(), clean_session: true };
        match peer.packet().await {
            Some(Packet::Connect(connect)) => {
                peer.client_id = connect.client_id;
                peer.clean_session = connect.clean_session;
            }
            other => panic!("{other:?} instead of a CONNECT"),
        }
        peer
    }

    /// The next connection, accepted.
    pub async fn accept(&self, session_present: bool) -> Peer {
        let mut peer = self.connection().await;
        peer.send([Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, session_present))]).await;
        peer
    }

    /// The next connection, accepted with a new session, and its subscription granted.
    pub async fn accept_new(&self) -> Peer {
        let mut peer = self.accept(false).await;
        peer.grant().await;
        peer
    }
}

impl Peer {
    /// The next packet; none when the client has closed.
    pub async fn packet(&mut self) -> Option<Packet> {
        let read = async {
            loop {
                match Packet::read(&mut self.read, 10 << 20) {
                    Ok(packet) => return Some(packet),
                    Err(rumqttc::Error::InsufficientBytes(_)) => {}
                    Err(error) => panic!("{error}"),
                }
                if !self.stream.read_buf(&mut self.read).await.is_ok_and(|bytes| bytes > 0) {
                    return None;
                }
            }
        };
        soon("a packet", read).await
    }

    /// The next packet that is no ping; pings are answered.
    pub async fn next(&mut self) -> Option<Packet> {
        loop {
            match self.packet().await {
                Some(Packet::PingReq) => self.send([Packet::PingResp]).await,
                other => return other,
            }
        }
    }

    pub async fn send(&mut self, packets: impl IntoIterator<Item = Packet>) {
        let mut bytes = BytesMut::new();
        for packet in packets {
            packet.write(&mut bytes, 10 << 20).unwrap();
        }
        self.stream.write_all(&bytes).await.unwrap();
    }

    /// The packets of [`Peer::send`], as far as the client takes them now; how many bytes that were.
    pub fn send_now(&mut self, bytes: &[u8]) -> usize {
        self.stream.try_write(bytes).unwrap_or(0)
    }

    /// The filters of the next packet, which must be a SUBSCRIBE; it is granted.
    pub async fn grant(&mut self) -> Vec<String> {
        match self.next().await {
            Some(Packet::Subscribe(subscribe)) => {
                let codes = vec![SubscribeReasonCode::Success(QoS::AtLeastOnce); subscribe.filters.len()];
                self.send([Packet::SubAck(SubAck::new(subscribe.pkid, codes))]).await;
                subscribe.filters.into_iter().map(|filter| filter.path).collect()
            }
            other => panic!("{other:?} instead of a SUBSCRIBE"),
        }
    }

    /// The topics of the next packet, which must be an UNSUBSCRIBE; it is granted.
    pub async fn release(&mut self) -> Vec<String> {
        match self.next().await {
            Some(Packet::Unsubscribe(unsubscribe)) => {
                self.send([Packet::UnsubAck(UnsubAck { pkid: unsubscribe.pkid })]).await;
                unsubscribe.topics
            }
            other => panic!("{other:?} instead of an UNSUBSCRIBE"),
        }
    }

    /// The packet ids of the next `count` packets, which must be PUBACKs.
    pub async fn acks(&mut self, count: usize) -> Vec<u16> {
        let mut ids = Vec::new();
        while ids.len() < count {
            match self.next().await {
                Some(Packet::PubAck(ack)) => ids.push(ack.pkid),
                other => panic!("{other:?} instead of a PUBACK"),
            }
        }
        ids
    }

    /// A QoS 1 message.
    pub fn message(packet_id: u16, topic: &str, payload: &str, dup: bool) -> Packet {
        let mut publish = Publish::new(topic, QoS::AtLeastOnce, payload);
        (publish.pkid, publish.dup) = (packet_id, dup);
        Packet::Publish(publish)
    }
}
