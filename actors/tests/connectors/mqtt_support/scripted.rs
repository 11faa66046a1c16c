//! A broker that does what a test tells it, for what a real one cannot be made to show: packets that are lost, answers
//! that never come, exactly what was sent when.

use std::time::Duration;

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
    reads: usize,
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
        let mut peer = Peer { stream, read: BytesMut::new(), reads: 0, client_id: String::new(), clean_session: true };
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

    /// Whether nobody connects for half a second.
    pub async fn is_idle(&self) -> bool {
        tokio::time::timeout(Duration::from_millis(500), self.0.accept()).await.is_err()
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
                self.reads += 1;
                self.read.reserve(64 << 10);
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
        self.stream.write_all(&Peer::bytes(packets)).await.unwrap();
    }

    /// Packets as they are on the wire.
    pub fn bytes(packets: impl IntoIterator<Item = Packet>) -> BytesMut {
        let mut bytes = BytesMut::new();
        for packet in packets {
            packet.write(&mut bytes, 10 << 20).unwrap();
        }
        bytes
    }

    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        soon("the client to read", self.stream.write_all(bytes)).await.unwrap();
    }

    /// As much as the client takes now; how many bytes that were.
    pub fn send_now(&mut self, bytes: &[u8]) -> usize {
        self.stream.try_write(bytes).unwrap_or(0)
    }

    /// How often something was read from the socket.
    pub fn reads(&self) -> usize {
        self.reads
    }

    /// Answers pings until something is so.
    pub async fn until(&mut self, condition: impl Fn() -> bool) {
        let wait = async {
            while !condition() {
                tokio::select! {
                    packet = self.packet() => match packet {
                        Some(Packet::PingReq) => self.send([Packet::PingResp]).await,
                        other => panic!("{other:?} instead of a ping"),
                    },
                    () = tokio::time::sleep(Duration::from_millis(2)) => {}
                }
            }
        };
        soon("a condition", wait).await;
    }

    /// For a moment nothing but pings comes: nothing that was about to be sent has been left out of sight.
    pub async fn expect_only_pings(&mut self) {
        let moment = tokio::time::Instant::now() + Duration::from_millis(200);
        while let Ok(packet) = tokio::time::timeout_at(moment, self.packet()).await {
            match packet {
                Some(Packet::PingReq) => self.send([Packet::PingResp]).await,
                other => panic!("{other:?} instead of a ping"),
            }
        }
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
