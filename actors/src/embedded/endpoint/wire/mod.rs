//! MQTT on the wire, 3.1.1 and 5: bytes to packets and back. Pure.
//!
//! Framing, parsing and building are `mqtt-protocol-core`'s. Its packets and its framing are used alone, without the
//! state machine (`Connection`) above them, for four reasons that were met in it:
//! - a CONNECT of version 5 with a Topic Alias Maximum of 0, which the standard allows, panics in it;
//! - the flags of the fixed header are gone where it hands out a packet, so a packet with reserved flags set, which a
//!   server must refuse, passes;
//! - in 3.1.1 it answers a malformed CONNECT with "not authorized", where the standard wants the connection closed
//!   without a word;
//! - packet ids, resending and the receive maximum belong to a session here, which outlives its connection.

mod decode;
mod encode;
mod packets;

use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{PacketBuildResult, PacketBuilder};

pub(crate) use packets::{Code, Connect, Fault, Incoming, Publish, Subscribe, Terms, Version, Will};

/// The largest CONNECT, in bytes: its texts at their longest, nearly. Who sends it has not said who it is, and memory is
/// taken for all of a packet when its length is read.
const CONNECT_LIMIT: u32 = 256 << 10;

/// One connection's bytes.
pub(crate) struct Wire {
    framing: PacketBuilder,
    packet_limit: u32,
    /// The first byte has come.
    begun: bool,
    version: Option<Version>,
    /// The largest packet that the client takes.
    send_limit: usize,
}

impl Wire {
    /// A connection on which nothing was said; packets above `packet_limit` bytes are refused, and a CONNECT
    /// above 256 KiB.
    pub(crate) fn new(packet_limit: u32) -> Self {
        let framing = PacketBuilder::with_maximum_packet_size(packet_limit.min(CONNECT_LIMIT));
        Wire { framing, packet_limit, begun: false, version: None, send_limit: usize::MAX }
    }

    /// The version that the client speaks, once it has said so.
    pub(crate) fn version(&self) -> Option<Version> {
        self.version
    }

    /// The next packet in `bytes`; takes from them what it has used. None when there is no whole one yet.
    pub(crate) fn next(&mut self, bytes: &mut &[u8]) -> Option<Result<Incoming, Fault>> {
        if let Some(first) = bytes.first()
            && !std::mem::replace(&mut self.begun, true)
            && first >> 4 != decode::CONNECT
        {
            // Not to be waited for: the rest of what is no packet may never come.
            *bytes = &[];
            return Some(Err(decode::no_connect()));
        }
        while !bytes.is_empty() {
            let mut cursor = Cursor::new(*bytes);
            let built = self.framing.feed(&mut cursor);
            let used = usize::try_from(cursor.position()).unwrap_or(usize::MAX).min(bytes.len());
            *bytes = bytes.get(used..).unwrap_or_default();
            match built {
                PacketBuildResult::Complete(raw) => {
                    let version = match self.version {
                        Some(version) => version,
                        None => match decode::version(&raw) {
                            Ok(version) => *self.version.insert(version),
                            Err(fault) => return Some(Err(fault)),
                        },
                    };
                    let packet = decode::decode(&raw, version);
                    if let Ok(Incoming::Connect(connect)) = &packet {
                        self.send_limit = connect.packet_limit as usize;
                        self.framing = PacketBuilder::with_maximum_packet_size(self.packet_limit);
                    }
                    return Some(packet);
                }
                PacketBuildResult::Incomplete if used == 0 => return None,
                PacketBuildResult::Incomplete => {}
                PacketBuildResult::Error(error) => return Some(Err(decode::fault_of(error))),
            }
        }
        None
    }

    /// Writes a CONNACK that accepts.
    pub(crate) fn accept(&self, terms: &Terms<'_>, out: &mut Vec<u8>) -> bool {
        self.write(out, |version| encode::accepted(version, terms))
    }

    /// Writes a CONNACK that refuses, where the standard has one.
    pub(crate) fn refuse(&self, code: Code, out: &mut Vec<u8>) {
        // A client that cannot be told why is told nothing.
        if let Ok(bytes) = encode::refused(self.version, code)
            && bytes.len() <= self.send_limit
        {
            out.extend_from_slice(&bytes);
        }
    }

    /// Writes a PUBACK.
    pub(crate) fn puback(&self, packet_id: u16, code: Code, out: &mut Vec<u8>) -> bool {
        self.write(out, |version| encode::puback(version, packet_id, code))
    }

    /// Writes a SUBACK.
    pub(crate) fn suback(&self, packet_id: u16, codes: &[Code], out: &mut Vec<u8>) -> bool {
        self.write(out, |version| encode::suback(version, packet_id, codes))
    }

    /// Writes an UNSUBACK.
    pub(crate) fn unsuback(&self, packet_id: u16, codes: &[Code], out: &mut Vec<u8>) -> bool {
        self.write(out, |version| encode::unsuback(version, packet_id, codes))
    }

    /// Writes a PINGRESP.
    pub(crate) fn pong(&self, out: &mut Vec<u8>) -> bool {
        self.write(out, encode::pong)
    }

    /// Writes a DISCONNECT, where the version has one for servers.
    pub(crate) fn disconnect(&self, code: Code, out: &mut Vec<u8>) {
        // A client that cannot be told why is told nothing.
        let _ = self.write(out, |version| encode::disconnect(version, code));
    }

    /// Writes a message to the client; false when it is larger than the client takes, or cannot be sent at all.
    pub(crate) fn publish(
        &self,
        topic: &str,
        payload: &[u8],
        packet_id: Option<u16>,
        dup: bool,
        out: &mut Vec<u8>,
    ) -> bool {
        self.write(out, |version| encode::publish(version, topic, payload, packet_id, dup))
    }

    fn write<E>(&self, out: &mut Vec<u8>, encode: impl FnOnce(Version) -> Result<Vec<u8>, E>) -> bool {
        let Some(Ok(bytes)) = self.version.map(encode) else { return false };
        if bytes.len() > self.send_limit {
            return false;
        }
        out.extend_from_slice(&bytes);
        true
    }
}
