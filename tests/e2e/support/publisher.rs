//! Devices: plain rumqttc clients that publish, and one that hears commands.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use rumqttc::{Client, Event, MqttOptions, Outgoing, Packet, QoS};
use telemill_services::{unique_name, wait_until};

use super::DEADLINE;

fn options(url: &str) -> MqttOptions {
    let place = url.strip_prefix("mqtt://").expect("an MQTT URL");
    let (host, port) = place.rsplit_once(':').unwrap_or((place, "1883"));
    let mut options = MqttOptions::new(unique_name("device"), host, port.parse().expect("a port"));
    options.set_max_packet_size(2 << 20, 2 << 20);
    options.set_inflight(500);
    options.set_keep_alive(Duration::from_secs(60));
    // A broker that comes back goes on where it was.
    options.set_clean_session(false);
    options
}

/// Publishes at QoS 1 and knows what the broker has taken. Survives an outage of the broker.
pub struct Publisher {
    client: Client,
    taken: Arc<AtomicUsize>,
    sent: usize,
}

impl Publisher {
    pub fn connect(url: &str) -> Publisher {
        let (client, mut connection) = Client::new(options(url), 100);
        let taken = Arc::new(AtomicUsize::new(0));
        let counted = taken.clone();
        std::thread::spawn(move || {
            for event in connection.iter() {
                match event {
                    Ok(Event::Incoming(Packet::PubAck(_))) => {
                        counted.fetch_add(1, Ordering::Release);
                    }
                    Ok(Event::Outgoing(Outgoing::Disconnect)) | Err(rumqttc::ConnectionError::RequestsDone) => return,
                    Ok(_) => {}
                    Err(_) => std::thread::park_timeout(Duration::from_millis(100)),
                }
            }
        });
        Publisher { client, taken, sent: 0 }
    }

    /// Publishes; waits where the broker takes no more.
    pub fn send(&mut self, topic: &str, payload: impl Into<Vec<u8>>) {
        self.client.publish(topic, QoS::AtLeastOnce, false, payload).expect("the client lives");
        self.sent += 1;
    }

    /// How much the broker has taken.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Acquire)
    }

    /// Returns when the broker has taken everything.
    pub fn settled(&self) {
        wait_until(DEADLINE, "the broker to take what was published", || (self.taken() >= self.sent).then_some(()));
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        // A client that is not told goes on connecting for as long as the process lives.
        let _ = self.client.try_disconnect();
    }
}

/// Hears what is sent to devices.
pub struct Commands {
    heard: Receiver<(String, String)>,
    _client: Client,
}

impl Commands {
    /// Subscribes and waits until the subscription stands.
    pub fn subscribe(url: &str, filter: &str) -> Commands {
        let (client, mut connection) = Client::new(options(url), 10);
        client.subscribe(filter, QoS::AtLeastOnce).expect("the client lives");
        let (messages, heard) = sync_channel(1000);
        let (subscribed, stands) = sync_channel(1);
        std::thread::spawn(move || {
            for event in connection.iter() {
                match event {
                    Ok(Event::Incoming(Packet::SubAck(_))) => {
                        let _ = subscribed.send(());
                    }
                    Ok(Event::Incoming(Packet::Publish(publish))) => {
                        let payload = String::from_utf8_lossy(&publish.payload).into_owned();
                        if messages.send((publish.topic, payload)).is_err() {
                            return;
                        }
                    }
                    Ok(_) => {}
                    Err(_) => return,
                }
            }
        });
        stands.recv_timeout(DEADLINE).expect("the broker grants the subscription");
        Commands { heard, _client: client }
    }

    /// The next one: topic and payload.
    pub fn next(&self) -> (String, String) {
        self.heard.recv_timeout(DEADLINE).expect("a command arrives")
    }
}
