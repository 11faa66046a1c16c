//! The services that the tests of one process share.
//!
//! Named by `MQTT_URL`, `KAFKA_BROKERS` and `REDIS_URL` they are used as they are (`tests/run` starts one set for the
//! whole run that way); without a name each is started at its first use and ends with the process.

use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use crate::server::{Kafka, Mosquitto, Redis};

/// Where the shared services are. A service starts when it is first asked for, so a test pays for what it uses.
#[derive(Debug)]
pub struct Services {
    mosquitto: OnceLock<Place<Mosquitto>>,
    kafka: OnceLock<Place<Kafka>>,
    redis: OnceLock<Place<Redis>>,
}

/// An address, and the server where it is ours: held for as long as the process runs.
#[derive(Debug)]
struct Place<S> {
    address: String,
    _server: Option<S>,
}

impl Services {
    /// The services of this process. Other tests use them at the same time: take names from [`unique_name`], and never
    /// stop, flush or reconfigure them.
    pub fn shared() -> &'static Self {
        static SHARED: Services =
            Services { mosquitto: OnceLock::new(), kafka: OnceLock::new(), redis: OnceLock::new() };
        &SHARED
    }

    /// `$MQTT_URL`, or the URL of a Mosquitto of this process.
    pub fn mqtt_url(&self) -> &str {
        address(&self.mosquitto, "MQTT_URL", 1883, || {
            let server = Mosquitto::start();
            (server.url(), server)
        })
    }

    /// `$KAFKA_BROKERS` (a comma between them), or the broker of this process.
    pub fn kafka_brokers(&self) -> &str {
        address(&self.kafka, "KAFKA_BROKERS", 9092, || {
            let server = Kafka::start();
            (server.brokers(), server)
        })
    }

    /// `$REDIS_URL`, or the URL of a Redis of this process.
    pub fn redis_url(&self) -> &str {
        address(&self.redis, "REDIS_URL", 6379, || {
            let server = Redis::start();
            (server.url(), server)
        })
    }
}

fn address<'a, S>(
    place: &'a OnceLock<Place<S>>,
    variable: &str,
    default_port: u16,
    start: impl FnOnce() -> (String, S),
) -> &'a str {
    let named = || std::env::var(variable).ok().filter(|v| !v.is_empty());
    let place = place.get_or_init(|| match named() {
        Some(address) => {
            check_listening(variable, &hosts(&address, default_port));
            Place { address, _server: None }
        }
        None => {
            let (address, server) = start();
            Place { address, _server: Some(server) }
        }
    });
    &place.address
}

/// One clear failure at the first use, where a client would retry in silence.
fn check_listening(variable: &str, hosts: &[String]) {
    let listens = |host: &String| {
        let mut addresses = host.to_socket_addrs().into_iter().flatten();
        addresses.any(|a| TcpStream::connect_timeout(&a, Duration::from_secs(5)).is_ok())
    };
    assert!(
        hosts.iter().any(listens),
        "{variable} names {}, where nothing listens; start it, or unset {variable} to let the tests start their own",
        hosts.join(", ")
    );
}

/// `host:port` of each server in a URL or a comma list, without scheme, user, password and path.
fn hosts(address: &str, default_port: u16) -> Vec<String> {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let rest = rest.split(['/', '?']).next().unwrap_or_default();
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    let with_port = |host: &str| {
        let name_ends = host.rfind(']').unwrap_or(0);
        if host[name_ends..].contains(':') { host.to_owned() } else { format!("{host}:{default_port}") }
    };
    rest.split(',').map(str::trim).map(with_port).collect()
}

/// `prefix`, made unique over tests, processes and runs. Fit for a topic, a key, a client id or a device id.
pub fn unique_name(prefix: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_micros());
    format!("{prefix}-{now:x}-{:x}-{count}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_an_address() {
        let check = |address: &str, expect: &[&str]| assert_eq!(hosts(address, 1), expect);
        check("redis://127.0.0.1:6379", &["127.0.0.1:6379"]);
        check("redis://user:p:w@store:6380/0?x=y", &["store:6380"]);
        check("mqtt://broker", &["broker:1"]);
        check("mqtt://[::1]", &["[::1]:1"]);
        check("mqtt://[::1]:1883", &["[::1]:1883"]);
        check("a:9092, b", &["a:9092", "b:1"]);
    }

    #[test]
    #[should_panic(expected = "REDIS_URL names 127.0.0.1:1, where nothing listens")]
    fn a_named_service_that_is_not_there_is_said() {
        check_listening("REDIS_URL", &hosts("redis://:secret@127.0.0.1:1", 6379));
    }

    #[test]
    fn names_differ() {
        assert_ne!(unique_name("a"), unique_name("a"));
    }
}
