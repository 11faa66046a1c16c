//! A client that says exactly what a test wants it to say.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::soon;

/// A connection.
pub struct Raw(pub TcpStream);

pub fn packet(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let (mut bytes, mut length) = (vec![first], body.len());
    loop {
        let digit = (length % 128) as u8;
        length /= 128;
        bytes.push(if length > 0 { digit | 0x80 } else { digit });
        if length == 0 {
            break;
        }
    }
    bytes.extend(body);
    bytes
}

pub fn field(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    [&u16::try_from(text.len()).unwrap().to_be_bytes(), text].concat()
}

/// A CONNECT; `clean` for a session that ends with it.
pub fn connect(version: u8, client_id: impl AsRef<[u8]>, clean: bool, keep_alive: u16) -> Vec<u8> {
    let [high, low] = keep_alive.to_be_bytes();
    let expiry: &[u8] = match (version, clean) {
        (5, true) => &[0],
        (5, false) => &[5, 0x11, 0, 0, 0, 60],
        _ => &[],
    };
    let head = [&[0, 4][..], b"MQTT", &[version, u8::from(clean) << 1, high, low], expiry].concat();
    packet(0x10, &[&head, &field(client_id)])
}

pub fn publish(version: u8, qos: u8, packet_id: u16, topic: impl AsRef<[u8]>, payload: &[u8]) -> Vec<u8> {
    let id = packet_id.to_be_bytes();
    let properties: &[u8] = if version == 5 { &[0] } else { &[] };
    packet(0x30 | qos << 1, &[&field(topic), if qos > 0 { &id } else { &[] }, properties, payload])
}

pub fn subscribe(version: u8, packet_id: u16, filter: &str, qos: u8) -> Vec<u8> {
    let properties: &[u8] = if version == 5 { &[0] } else { &[] };
    packet(0x82, &[&packet_id.to_be_bytes(), properties, &field(filter), &[qos]])
}

/// The next packet, whole.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut bytes = vec![stream.read_u8().await?];
    let (mut length, mut shift) = (0usize, 0);
    loop {
        let byte = stream.read_u8().await?;
        bytes.push(byte);
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let head = bytes.len();
    bytes.resize(head + length, 0);
    stream.read_exact(&mut bytes[head..]).await?;
    Ok(bytes)
}

/// What stands behind the fixed header of a whole packet.
pub fn body(packet: &[u8]) -> &[u8] {
    let digits = packet[1..].iter().take_while(|byte| **byte & 0x80 != 0).count();
    &packet[2 + digits..]
}

/// Nothing comes.
pub const SILENCE: [u8; 0] = [];
pub const PING: [u8; 2] = [0xc0, 0];
pub const PONG: [u8; 2] = [0xd0, 0];

impl Raw {
    pub async fn open(port: u16) -> Raw {
        Raw(TcpStream::connect(("127.0.0.1", port)).await.unwrap())
    }

    /// Connected and let in; whether its session was there.
    pub async fn connected(port: u16, version: u8, client_id: &str, clean: bool, keep_alive: u16) -> (Raw, bool) {
        let mut raw = Raw::open(port).await;
        raw.send(&connect(version, client_id, clean, keep_alive)).await;
        let answer = raw.packet().await;
        assert_eq!((answer[0], answer[answer.len().min(3)]), (0x20, 0), "{answer:?}");
        (raw, answer[2] == 1)
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// The next packet, whole.
    pub async fn packet(&mut self) -> Vec<u8> {
        soon("a packet", read(&mut self.0)).await.unwrap()
    }

    /// Everything that comes until the endpoint closes the connection.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // A reset is an end, too: the endpoint closed with bytes of ours unread.
        let _ = soon("the end of the connection", self.0.read_to_end(&mut rest)).await;
        rest
    }

    /// Nothing comes before the answer to a ping.
    pub async fn only_pong(&mut self) {
        self.send(&PING).await;
        assert_eq!(self.packet().await, PONG);
    }
}
