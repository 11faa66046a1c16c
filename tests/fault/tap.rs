//! What the MQTT broker delivered to the engine, and what the engine acknowledged: read off the wire, so that neither of
//! them is asked.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use rumqttc::mqttbytes::v4::Packet;

use crate::proxy::{Tap, Taps, Way};

/// Above every packet limit of the tests.
const PACKET_LIMIT: usize = 4 << 20;

/// The messages of all connections, by the uuid in their payload.
#[derive(Clone, Default)]
pub struct Deliveries(Arc<Mutex<Heard>>);

#[derive(Default)]
struct Heard {
    delivered: HashSet<String>,
    acknowledged: HashSet<String>,
    redelivered: usize,
}

impl Deliveries {
    /// Taps that enter what they hear here.
    pub fn taps(&self) -> Taps {
        let deliveries = self.clone();
        Arc::new(move || {
            let conversation = Conversation {
                deliveries: deliveries.clone(),
                unanswered: HashMap::new(),
                up: BytesMut::new(),
                down: BytesMut::new(),
                deaf: false,
            };
            Arc::new(Mutex::new(conversation))
        })
    }

    /// Forgets everything, and gives what was acknowledged, delivered, and how much of it was delivered again.
    pub fn take(&self) -> (HashSet<String>, HashSet<String>, usize) {
        let heard = std::mem::take(&mut *self.lock());
        (heard.acknowledged, heard.delivered, heard.redelivered)
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection.
struct Conversation {
    deliveries: Deliveries,
    /// The messages that wait for their PUBACK, by packet id.
    unanswered: HashMap<u16, String>,
    up: BytesMut,
    down: BytesMut,
    /// It is not MQTT 3.1.1.
    deaf: bool,
}

impl Tap for Conversation {
    fn hear(&mut self, way: Way, bytes: &[u8]) {
        if self.deaf {
            return;
        }
        let buffer = if way == Way::Up { &mut self.up } else { &mut self.down };
        buffer.extend_from_slice(bytes);
        loop {
            let buffer = if way == Way::Up { &mut self.up } else { &mut self.down };
            match Packet::read(buffer, PACKET_LIMIT) {
                Ok(packet) => self.note(way, packet),
                Err(rumqttc::mqttbytes::Error::InsufficientBytes(_)) => return,
                Err(error) => {
                    eprintln!("a packet that is not understood, {way:?}: {error}");
                    self.deaf = true;
                    return;
                }
            }
        }
    }
}

impl Conversation {
    fn note(&mut self, way: Way, packet: Packet) {
        match (way, packet) {
            (Way::Down, Packet::Publish(publish)) if publish.pkid != 0 => {
                let Some(uuid) = uuid_of(&publish.payload) else { return };
                let mut heard = self.deliveries.lock();
                heard.redelivered += usize::from(!heard.delivered.insert(uuid.clone()));
                self.unanswered.insert(publish.pkid, uuid);
            }
            (Way::Up, Packet::PubAck(ack)) => {
                if let Some(uuid) = self.unanswered.remove(&ack.pkid) {
                    self.deliveries.lock().acknowledged.insert(uuid);
                }
            }
            _ => {}
        }
    }
}

/// The uuid in a payload, whether that is JSON or was meant to be.
pub fn uuid_of(payload: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(payload).ok()?;
    let (_, rest) = text.split_once(r#""uuid":""#)?;
    rest.get(..36).map(str::to_owned)
}
