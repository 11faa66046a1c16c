//! A Kafka cluster: `connections: { log: { kafka: { brokers: ["127.0.0.1:9092"] } } }`.
//!
//! This version speaks plain Kafka, without TLS and authentication; a topology that asks for either is refused rather
//! than connected in the clear.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use schemars::JsonSchema;
use serde::Deserialize;
use telemill_engine::context::{CheckContext, Connection};

use super::properties::{Properties, refused};

/// The longest that a single request to the cluster is waited for.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// A Kafka cluster as written.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaConnectionSpec {
    /// `host:port` of some of the brokers; the others are found through them.
    pub brokers: Vec<String>,
    /// How the brokers' logs and quotas name this client; `telemill` when absent.
    #[serde(default)]
    pub client_id: Option<String>,
    /// More properties of librdkafka, such as `socket.keepalive.enable`. Those that Telemill's promises depend on are
    /// refused.
    #[serde(default)]
    pub properties: Properties,
}

/// A Kafka cluster, checked.
#[derive(Clone, Debug)]
pub struct KafkaConnection {
    brokers: String,
    client_id: String,
    properties: Vec<(String, String)>,
}

impl Connection for KafkaConnection {
    const KIND: &'static str = "kafka";
    const HAS_TOPICS: bool = true;
    type Spec = KafkaConnectionSpec;

    fn check(spec: KafkaConnectionSpec, cx: &mut CheckContext<'_>) -> Option<Self> {
        let before = cx.problems.len();
        if spec.brokers.is_empty() {
            cx.problem("brokers", "kafka::no_brokers", "no brokers are named", "name at least one, as `host:port`");
        }
        for (index, broker) in spec.brokers.iter().enumerate() {
            if let Err(why) = check_broker(broker) {
                let message = format!("`{broker}` is no broker address: {why}");
                cx.problem(format!("brokers[{index}]"), "kafka::bad_broker", message, "write it as `host:port`");
            }
        }
        for (name, value) in &spec.properties {
            let at = format!("properties.{name}");
            if let Some(why) = refused(name) {
                let message = format!("property `{name}` cannot be set: {why}");
                cx.problem(at, "kafka::refused_property", message, "remove it");
            } else if let Err(why) = known(name, &value.0) {
                cx.problem(at, "kafka::bad_property", why, "see librdkafka's CONFIGURATION.md");
            }
        }
        (cx.problems.len() == before).then(|| KafkaConnection {
            brokers: spec.brokers.join(","),
            client_id: spec.client_id.unwrap_or_else(|| "telemill".to_owned()),
            properties: spec.properties.into_iter().map(|(name, value)| (name, value.0)).collect(),
        })
    }
}

impl KafkaConnection {
    /// The brokers named, for messages.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// The cluster's name among the other sides of a stage.
    pub(crate) fn peer(&self) -> String {
        format!("kafka {}", self.brokers)
    }

    /// What every client of this cluster is configured with.
    pub fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set_log_level(RDKafkaLogLevel::Info)
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", &self.client_id)
            // A broker that comes back is to be found within a second, not within the default of ten.
            .set("reconnect.backoff.max.ms", "1000")
            // A connection that hangs is given up after so long; with the default of a minute, a producer whose request
            // hangs would hold up everything behind it for that long.
            .set("socket.timeout.ms", "10000");
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config
    }

    /// What every producer for this cluster is configured with: in order, once, on every in-sync replica, and a device
    /// where any client puts it.
    pub fn producer_config(&self) -> ClientConfig {
        let mut config = self.client_config();
        config.set("enable.idempotence", "true").set("acks", "all").set("partitioner", "murmur2_random");
        config
    }
}

fn check_broker(broker: &str) -> Result<(), &'static str> {
    if let Some((scheme, _)) = broker.split_once("://") {
        return Err(match scheme {
            "PLAINTEXT" | "plaintext" => "leave the scheme out",
            _ => "this version speaks plain Kafka only, without TLS and authentication",
        });
    }
    let (host, port) = broker.rsplit_once(':').ok_or("it has no port")?;
    let bad_host = |c: char| c.is_whitespace() || c.is_control() || c == ',' || c == '/' || c == '@';
    if host.is_empty() || host.contains(bad_host) {
        return Err("it has no host name");
    }
    match port.parse::<u16>() {
        Ok(1..) => Ok(()),
        _ => Err("its port is not a number from 1 to 65535"),
    }
}

fn known(name: &str, value: &str) -> Result<(), String> {
    let mut config = ClientConfig::new();
    config.set(name, value);
    match config.create_native_config() {
        Ok(_) => Ok(()),
        Err(KafkaError::ClientConfig(_, why, ..)) => Err(why),
        Err(other) => Err(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use telemill_engine::context::{Connections, Topics};

    fn check(spec: &str) -> Result<KafkaConnection, Vec<String>> {
        let mut problems = Vec::new();
        let mut cx = CheckContext {
            name: "log",
            inputs: &[],
            connections: &Connections::new(),
            topics: &Topics::default(),
            problems: &mut problems,
        };
        let checked = KafkaConnection::check(serde_json::from_str(spec).unwrap(), &mut cx);
        checked.ok_or_else(|| problems.into_iter().map(|p| format!("{} {}", p.at, p.code)).collect())
    }

    #[test]
    fn every_problem_is_reported_at_its_place() {
        let refused = |spec: &str, expect: &[&str]| assert_eq!(check(spec).unwrap_err(), expect, "{spec}");
        refused(r#"{"brokers":[]}"#, &["brokers kafka::no_brokers"]);
        refused(
            r#"{"brokers":["h:9092","h","h:0","SSL://h:9093",":1"]}"#,
            &[1, 2, 3, 4].map(|i| format!("brokers[{i}] kafka::bad_broker")).each_ref().map(String::as_str),
        );
        refused(
            r#"{"brokers":["h:1"],"properties":{"acks":1,"socket.timeout.ms":"soon","no.such":1,"sasl.password":"x"}}"#,
            &[
                "properties.acks kafka::refused_property",
                "properties.no.such kafka::bad_property",
                "properties.sasl.password kafka::refused_property",
                "properties.socket.timeout.ms kafka::bad_property",
            ],
        );
    }

    #[test]
    fn allowed_properties_reach_the_client() {
        let checked = check(r#"{"brokers":["h:1","[::1]:2"],"properties":{"socket.keepalive.enable":true}}"#).unwrap();
        let config = checked.client_config();
        assert_eq!(config.get("bootstrap.servers"), Some("h:1,[::1]:2"));
        assert_eq!(config.get("socket.keepalive.enable"), Some("true"));
        assert_eq!(config.get("client.id"), Some("telemill"));
        assert!(config.create_native_config().is_ok());
    }
}
