//! A device, or many: a plain rumqttc client.

use std::sync::Arc;
use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use telemill_services::unique_name;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::soon;

/// Publishes at QoS 1 and knows what the broker has taken.
pub struct Publisher {
    client: AsyncClient,
    taken: Arc<Semaphore>,
    sent: u32,
    task: JoinHandle<()>,
}

fn options(url: &str, client_id: &str) -> MqttOptions {
    let (host, port) = url.strip_prefix("mqtt://").and_then(|place| place.split_once(':')).unwrap();
    let mut options = MqttOptions::new(client_id, host, port.parse().unwrap());
    options.set_max_packet_size(10 << 20, 10 << 20);
    options.set_inflight(200);
    options.set_keep_alive(Duration::from_secs(60));
    options
}

impl Publisher {
    pub async fn connect(url: &str) -> Publisher {
        let (client, mut eventloop) = AsyncClient::new(options(url, &unique_name("device")), 100);
        let taken = Arc::new(Semaphore::new(0));
        let counted = taken.clone();
        let task = tokio::spawn(async move {
            loop {
                match eventloop.poll().await {
                    Ok(Event::Incoming(Packet::PubAck(_))) => counted.add_permits(1),
                    Ok(_) => {}
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        });
        Publisher { client, taken, sent: 0, task }
    }

    pub async fn send(&mut self, topic: &str, payload: impl Into<Vec<u8>>) {
        self.client.publish(topic, QoS::AtLeastOnce, false, payload).await.unwrap();
        self.sent += 1;
    }

    pub async fn retain(&mut self, topic: &str, payload: impl Into<Vec<u8>>) {
        self.client.publish(topic, QoS::AtLeastOnce, true, payload).await.unwrap();
        self.sent += 1;
    }

    /// Returns when the broker has taken everything.
    pub async fn settled(&mut self) {
        let taken = self.taken.clone();
        soon("the broker to take what was published", taken.acquire_many(self.sent)).await.unwrap().forget();
        self.sent = 0;
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A device that listens to one topic.
pub struct Subscriber {
    eventloop: EventLoop,
    _client: AsyncClient,
}

impl Subscriber {
    /// Returns when it is subscribed.
    pub async fn connect(url: &str, topic: &str) -> Subscriber {
        let (client, eventloop) = AsyncClient::new(options(url, &unique_name("device")), 10);
        let mut subscriber = Subscriber { eventloop, _client: client.clone() };
        client.subscribe(topic, QoS::AtLeastOnce).await.unwrap();
        let subscribed = async {
            while !matches!(subscriber.eventloop.poll().await.unwrap(), Event::Incoming(Packet::SubAck(_))) {}
        };
        soon("the subscription", subscribed).await;
        subscriber
    }

    /// The next message.
    pub async fn next(&mut self) -> String {
        let next = async {
            loop {
                if let Event::Incoming(Packet::Publish(publish)) = self.eventloop.poll().await.unwrap() {
                    return String::from_utf8(publish.payload.to_vec()).unwrap();
                }
            }
        };
        soon("a message", next).await
    }
}

/// Cuts the connection of a client by taking its session over for a moment. Nothing of the session is read.
pub async fn kick(url: &str, client_id: &str) {
    let mut options = options(url, client_id);
    options.set_clean_session(false);
    options.set_manual_acks(true);
    let mut eventloop = rumqttc::EventLoop::new(options, 1);
    soon("the takeover", eventloop.poll()).await.unwrap();
}
