//! A real Kafka.

use std::sync::Arc;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use telemill_actors::kafka_dead_letters::KafkaDeadLetters;
use telemill_actors::kafka_router::KafkaRouter;
use telemill_actors::kafka_source::KafkaSource;
use telemill_engine::context::Connections;

use super::{Kind, Place};
use crate::kafka_support::Site;

pub struct Kafka(Site);

impl Kind for Kafka {
    type Router = KafkaRouter;
    type Source = KafkaSource;
    type DeadLetters = KafkaDeadLetters;

    fn new() -> Self {
        Kafka(Site::shared())
    }

    fn connections(&self) -> Connections {
        Connections::new().with("log", Arc::new(self.0.connection()))
    }

    async fn remove_all(place: &Place<Self>, topic: &str, partition: i32) {
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &place.kind.0.brokers).create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::End).unwrap();
        admin.delete_records(&list, &AdminOptions::new()).await.unwrap();
    }
}
