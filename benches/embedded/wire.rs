//! The little of MQTT 3.1.1 that a device needs to be a load: CONNECT and PUBLISH at QoS 1 out, CONNACK and PUBACK in.
//!
//! By hand, because the generator shares the machine's cores with what is measured: a client library would take more of
//! them than the broker does.

use anyhow::{bail, ensure};

/// The bytes that stand for "connected", after which a PUBLISH may come.
pub const CONNACK: [u8; 4] = [0x20, 2, 0, 0];

const PUBACK: [u8; 2] = [0x40, 2];
/// Longer than any run, so that nobody has to ping.
const KEEP_ALIVE: [u8; 2] = 3600_u16.to_be_bytes();

/// Appends a CONNECT with a clean session.
pub fn connect(out: &mut Vec<u8>, client_id: &str) {
    out.push(0x10);
    length(out, 10 + 2 + client_id.len());
    out.extend_from_slice(b"\0\x04MQTT\x04\x02");
    out.extend_from_slice(&KEEP_ALIVE);
    text(out, client_id.as_bytes());
}

/// Appends a PUBLISH at QoS 1.
pub fn publish(out: &mut Vec<u8>, topic: &str, packet_id: u16, payload: &[u8]) {
    out.push(0x32);
    length(out, 2 + topic.len() + 2 + payload.len());
    text(out, topic.as_bytes());
    out.extend_from_slice(&packet_id.to_be_bytes());
    out.extend_from_slice(payload);
}

/// The packet id of a device's message, counted from 0. Zero is none.
pub fn packet_id(number: usize) -> u16 {
    (number % usize::from(u16::MAX)) as u16 + 1
}

fn text(out: &mut Vec<u8>, text: &[u8]) {
    // Names of this benchmark's own making, of some twenty bytes.
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text);
}

fn length(out: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

/// Reads a stream of PUBACKs, which come in the order of their PUBLISHes.
#[derive(Debug, Default)]
pub struct Acks {
    /// The beginning of one that is not complete.
    partial: Vec<u8>,
    seen: usize,
}

impl Acks {
    /// How many there were so far.
    pub fn seen(&self) -> usize {
        self.seen
    }

    /// Takes what was read.
    ///
    /// # Errors
    /// When it is anything but the PUBACK that is next.
    pub fn feed(&mut self, mut bytes: &[u8]) -> anyhow::Result<()> {
        while !bytes.is_empty() {
            let taken = (4 - self.partial.len()).min(bytes.len());
            let (head, rest) = bytes.split_at(taken);
            self.partial.extend_from_slice(head);
            bytes = rest;
            let &[kind, length, high, low] = &self.partial[..] else { continue };
            ensure!(
                [kind, length] == PUBACK,
                "a packet that begins with {kind:#04x} {length:#04x} instead of a PUBACK"
            );
            let (id, expected) = (u16::from_be_bytes([high, low]), packet_id(self.seen));
            if id != expected {
                bail!("the PUBACK of {id} where that of {expected} is next");
            }
            self.seen += 1;
            self.partial.clear();
        }
        Ok(())
    }
}
