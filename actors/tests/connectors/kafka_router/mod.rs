//! The router against a real Kafka.

mod marks;
mod order;
mod outage;
mod ports;
mod rebuild;
mod refused;
mod wire;

use serde_json::json;
use telemill_actors::kafka_router::KafkaRouter;
use telemill_engine::stage::Component;

use crate::kafka_support::Site;

/// A router with the topics of the ingress' kinds.
struct Routed {
    site: Site,
    data: String,
    hello: String,
}

impl Routed {
    fn new(partitions: i32) -> Routed {
        Routed::at(Site::shared(), partitions)
    }

    fn at(mut site: Site, partitions: i32) -> Routed {
        let (data, hello) = (site.topic("iot-data", partitions), site.topic("iot-hello", partitions));
        Routed { site, data, hello }
    }

    fn checked(&self) -> <KafkaRouter as Component>::Checked {
        let routes = json!({ "data": self.data, "hello": self.hello });
        self.site.check::<KafkaRouter>(json!({ "connection": "log", "key": "device_id", "routes": routes }))
    }

    async fn router(&self) -> KafkaRouter {
        KafkaRouter::build(&self.checked(), &self.site.cx()).await.unwrap()
    }

    /// The numbers in the payloads of what is in the topic of data.
    fn numbers(&self) -> Vec<u64> {
        let messages = self.site.read(&self.data);
        messages.iter().map(|message| message.json()["payload"]["n"].as_u64().unwrap()).collect()
    }
}

/// A router of one topic, and the topic.
async fn single(site: &mut Site, prefix: &str, partitions: i32) -> (KafkaRouter, String) {
    let topic = site.topic(prefix, partitions);
    let checked = site.check::<KafkaRouter>(json!({ "connection": "log", "topic": topic }));
    (KafkaRouter::build(&checked, &site.cx()).await.unwrap(), topic)
}
