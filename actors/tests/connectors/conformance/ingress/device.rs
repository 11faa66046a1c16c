//! A device, as it ought to be: what it has published it sends again after a reconnect, until it is acknowledged; it
//! pings, and acknowledges its commands.

use std::collections::VecDeque;
use std::time::Duration;

use telemill_services::unique_name;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::mqtt_support::{raw, soon};

/// How many messages a device of version 5 has unacknowledged at most.
pub(crate) const WINDOW: usize = 20;

const RETAIN: u8 = 0b1;
const DUP: u8 = 0b1000;

/// The version of MQTT that a device speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// 3.1.1, in which a device need not keep any window, and this one keeps none.
    V4,
    /// 5, with a window of [`WINDOW`].
    V5,
}

impl Version {
    fn byte(self) -> u8 {
        match self {
            Version::V4 => 4,
            Version::V5 => 5,
        }
    }
}

/// A device.
pub(crate) struct Device {
    client_id: String,
    version: Version,
    keep_alive: u16,
    last_packet_id: u16,
    /// What was sent on this connection at QoS 1: packet ids and packets.
    sent: VecDeque<(u16, Vec<u8>)>,
    /// The PUBACKs of earlier connections.
    acknowledged_before: usize,
    line: Line,
}

/// What a connection has brought.
#[derive(Debug, Default)]
struct Heard {
    acknowledged: Vec<u16>,
    pongs: usize,
    is_subscribed: bool,
    commands: Vec<String>,
    is_over: bool,
}

/// A connection.
struct Line {
    out: mpsc::Sender<Vec<u8>>,
    heard: watch::Receiver<Heard>,
    /// They end with it.
    _tasks: JoinSet<()>,
}

impl Line {
    async fn open(address: &str, connect: &[u8], version: Version, keep_alive: u16) -> Line {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(connect).await.unwrap();
        let answer = soon("a CONNACK", raw::read(&mut stream)).await.unwrap();
        assert_eq!((answer[0], answer[3]), (0x20, 0), "{answer:?}");
        let (reading, writing) = stream.into_split();
        let ((out, queue), (hears, heard)) = (mpsc::channel(64), watch::channel(Heard::default()));
        let mut tasks = JoinSet::new();
        tasks.spawn(listen(reading, version, out.clone(), hears));
        tasks.spawn(speak(writing, queue, Duration::from_secs(keep_alive.into()) * 3 / 10));
        Line { out, heard, _tasks: tasks }
    }
}

/// Takes in what comes.
async fn listen(mut stream: OwnedReadHalf, version: Version, out: mpsc::Sender<Vec<u8>>, hears: watch::Sender<Heard>) {
    while let Ok(packet) = raw::read(&mut stream).await {
        let body = raw::body(&packet);
        let mut answer = None;
        hears.send_modify(|heard| match packet[0] >> 4 {
            0x3 => {
                let (topic, rest) = body[2..].split_at(usize::from(u16::from_be_bytes([body[0], body[1]])));
                let (id, rest) = rest.split_at(2);
                let payload = if version == Version::V5 { &rest[1 + usize::from(rest[0])..] } else { rest };
                let [topic, payload] = [topic, payload].map(String::from_utf8_lossy);
                heard.commands.push(format!("{topic} {payload}"));
                answer = Some(raw::packet(0x40, &[id]));
            }
            0x4 => heard.acknowledged.push(u16::from_be_bytes([body[0], body[1]])),
            0x9 => heard.is_subscribed = true,
            0xd => heard.pongs += 1,
            _ => {}
        });
        if let Some(answer) = answer
            && out.send(answer).await.is_err()
        {
            break;
        }
    }
    hears.send_modify(|heard| heard.is_over = true);
}

/// Sends what there is to send, and pings.
async fn speak(mut stream: OwnedWriteHalf, mut queue: mpsc::Receiver<Vec<u8>>, ping_every: Duration) {
    let mut ping = tokio::time::interval_at(Instant::now() + ping_every, ping_every);
    loop {
        let packet = tokio::select! {
            packet = queue.recv() => packet,
            _ = ping.tick() => Some(raw::PING.to_vec()),
        };
        let Some(packet) = packet else { return };
        if stream.write_all(&packet).await.is_err() {
            return;
        }
    }
}

impl Device {
    /// A device with a session that ends with its connection. `keep_alive`: in seconds.
    pub(crate) async fn connect(address: &str, device: &str, version: Version, keep_alive: u16) -> Device {
        let client_id = unique_name(device);
        let connect = raw::connect(version.byte(), &client_id, true, keep_alive);
        let line = Line::open(address, &connect, version, keep_alive).await;
        let (sent, last_packet_id, acknowledged_before) = (VecDeque::new(), 0, 0);
        Device { client_id, version, keep_alive, last_packet_id, sent, acknowledged_before, line }
    }

    /// Connects anew, and sends again what was not acknowledged.
    pub(crate) async fn reconnect(&mut self, address: &str) {
        let acknowledged = self.heard().acknowledged.len();
        self.acknowledged_before += acknowledged;
        self.sent.drain(..acknowledged);
        let connect = raw::connect(self.version.byte(), &self.client_id, true, self.keep_alive);
        self.line = Line::open(address, &connect, self.version, self.keep_alive).await;
        for (_, packet) in &mut self.sent {
            packet[0] |= DUP;
            self.line.out.send(packet.clone()).await.unwrap();
        }
    }

    /// Publishes at QoS 1, once its window has room.
    pub(crate) async fn publish(&mut self, topic: &str, payload: impl AsRef<[u8]>) {
        self.publish_with(0, topic, payload.as_ref()).await;
    }

    /// Publishes at QoS 1 with the RETAIN flag.
    pub(crate) async fn retain(&mut self, topic: &str, payload: impl AsRef<[u8]>) {
        self.publish_with(RETAIN, topic, payload.as_ref()).await;
    }

    async fn publish_with(&mut self, flags: u8, topic: &str, payload: &[u8]) {
        if self.version == Version::V5 {
            let sent = self.sent.len();
            self.until("room in a device's window", |heard| sent - heard.acknowledged.len() < WINDOW).await;
        }
        self.last_packet_id = self.last_packet_id % u16::MAX + 1;
        let mut packet = raw::publish(self.version.byte(), 1, self.last_packet_id, topic, payload);
        packet[0] |= flags;
        self.sent.push_back((self.last_packet_id, packet.clone()));
        self.line.out.send(packet).await.unwrap();
    }

    /// Publishes at QoS 0.
    pub(crate) async fn fire(&mut self, topic: &str, payload: impl AsRef<[u8]>) {
        let packet = raw::publish(self.version.byte(), 0, 0, topic, payload.as_ref());
        self.line.out.send(packet).await.unwrap();
    }

    /// Subscribes at QoS 1.
    pub(crate) async fn subscribe(&mut self, filter: &str) {
        self.line.out.send(raw::subscribe(self.version.byte(), 1, filter, 1)).await.unwrap();
        self.until("a SUBACK", |heard| heard.is_subscribed).await;
    }

    /// Waits for `count` PUBACKs in all. No more have come before the answer to a ping.
    pub(crate) async fn acknowledged(&mut self, count: usize) {
        let before = self.acknowledged_before;
        self.until("PUBACKs", |heard| before + heard.acknowledged.len() >= count).await;
        self.pings(1).await;
        self.is_acknowledged(count);
    }

    /// That so many PUBACKs have come in all, in order.
    pub(crate) fn is_acknowledged(&self, count: usize) {
        let heard = self.heard();
        assert_eq!(self.acknowledged_before + heard.acknowledged.len(), count, "PUBACKs");
        assert!(heard.acknowledged.iter().eq(self.sent.iter().map(|(id, _)| id).take(heard.acknowledged.len())));
    }

    /// Waits until all that it has published is acknowledged.
    pub(crate) async fn settled(&mut self) {
        self.acknowledged(self.acknowledged_before + self.sent.len()).await;
    }

    /// Waits for the answers to so many pings, the first of which is sent now.
    pub(crate) async fn pings(&mut self, count: usize) {
        let expected = self.heard().pongs + count;
        self.line.out.send(raw::PING.to_vec()).await.unwrap();
        self.until("an answer to a ping", |heard| heard.pongs >= expected).await;
    }

    /// Waits for `count` commands: topic and payload of each. No more have come before the answer to a ping.
    pub(crate) async fn commands(&mut self, count: usize) -> Vec<String> {
        self.until("commands", |heard| heard.commands.len() >= count).await;
        self.pings(1).await;
        self.heard().commands.clone()
    }

    /// Waits for the end of its connection.
    pub(crate) async fn is_cut_off(&mut self) {
        let heard = self.line.heard.wait_for(|heard| heard.is_over);
        soon("the end of a device's connection", heard).await.unwrap();
    }

    fn heard(&self) -> watch::Ref<'_, Heard> {
        self.line.heard.borrow()
    }

    async fn until(&mut self, what: &str, so: impl Fn(&Heard) -> bool) {
        let heard = self.line.heard.wait_for(|heard| so(heard) || heard.is_over);
        let heard = soon(what, heard).await.unwrap();
        assert!(so(&heard), "the connection ended before {what}: {heard:?}");
    }
}
