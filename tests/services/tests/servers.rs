//! Each server starts, keeps its state over a restart, can be frozen and killed, and is gone with its value.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use telemill_services::{Kafka, Mosquitto, Redis, Server, eventually, unique_name};

/// What Redis answers to an inline command, or the reason why it does not within a second.
fn redis_says(server: &Server, command: &str) -> Result<String, std::io::Error> {
    let mut connection = TcpStream::connect(server.address())?;
    connection.set_read_timeout(Some(Duration::from_secs(1)))?;
    connection.write_all(format!("{command}\r\n").as_bytes())?;
    let mut answer = [0; 256];
    let length = connection.read(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

#[track_caller]
fn assert_gone(pid: u32, dir: &Path) {
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "it runs on");
    assert!(!dir.exists(), "its files stay in {}", dir.display());
}

#[test]
fn redis_keeps_a_key_over_restart_and_kill() {
    let redis = Redis::start_with(&["--set", "appendfsync always"]);
    assert_eq!(redis_says(&redis, "SET k v").unwrap(), "+OK\r\n");
    let first = redis.pid();

    redis.restart();
    assert_ne!(redis.pid(), first);
    assert_eq!(redis_says(&redis, "GET k").unwrap(), "$1\r\nv\r\n");

    redis.kill9();
    redis_says(&redis, "PING").unwrap_err();
    redis.restart();
    assert_eq!(redis_says(&redis, "GET k").unwrap(), "$1\r\nv\r\n");

    let (pid, dir) = (redis.pid(), redis.dir().to_owned());
    drop(redis);
    assert_gone(pid, &dir);
}

#[test]
fn a_frozen_server_holds_connections_and_goes_on() {
    let redis = Redis::start();
    redis.stop();
    let mut connection = TcpStream::connect(redis.address()).unwrap();
    connection.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    connection.write_all(b"PING\r\n").unwrap();
    connection.read(&mut [0; 16]).unwrap_err();

    redis.cont();
    connection.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut answer = [0; 7];
    connection.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+PONG\r\n");

    // A frozen server can be ended and dropped as well.
    redis.stop();
    redis.terminate();
    redis.restart();
    redis.stop();
    let (pid, dir) = (redis.pid(), redis.dir().to_owned());
    drop(redis);
    assert_gone(pid, &dir);
}

#[test]
fn mosquitto_keeps_a_queued_message_over_a_restart() {
    let broker = Mosquitto::start();
    let port = broker.port().to_string();
    let run = |program: &str, args: &str| {
        let output = Command::new(program)
            .args(["-h", "127.0.0.1", "-p", &port, "-q", "1"])
            .args(args.split(' '))
            .output()
            .unwrap();
        assert!(output.status.success(), "{program}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };

    // Subscribe and leave, publish to the session, restart the broker, come back.
    run("mosquitto_sub", "-i slot -c -t devices/# -E");
    run("mosquitto_pub", "-t devices/d1/data -m kept");
    broker.restart();
    let received = run("mosquitto_sub", "-i slot -c -t devices/# -C 1 -W 10");
    assert_eq!(received, "kept\n");

    let (pid, dir) = (broker.pid(), broker.dir().to_owned());
    drop(broker);
    assert_gone(pid, &dir);
}

#[tokio::test]
async fn kafka_keeps_a_topic_over_restart_and_kill() {
    let kafka = Kafka::start();
    let topic = unique_name("kept");
    let client = || -> AdminClient<DefaultClientContext> {
        ClientConfig::new().set("bootstrap.servers", kafka.brokers()).create().unwrap()
    };
    let has_topic = async |name: &str| {
        let admin = client();
        eventually(Duration::from_secs(30), "the topic's leader", async || {
            let seen = admin.inner().fetch_metadata(Some(name), Duration::from_secs(5)).ok()?;
            let partitions = seen.topics()[0].partitions();
            (partitions.len() == 3 && partitions.iter().all(|p| p.leader() == 1)).then_some(())
        })
        .await;
    };

    let created = client()
        .create_topics([&NewTopic::new(&topic, 3, TopicReplication::Fixed(1))], &AdminOptions::new())
        .await
        .unwrap();
    assert_eq!(created, [Ok(topic.clone())]);

    kafka.restart();
    has_topic(&topic).await;
    kafka.kill9();
    kafka.restart();
    has_topic(&topic).await;

    let (pid, dir) = (kafka.pid(), kafka.dir().to_owned());
    drop(kafka);
    assert_gone(pid, &dir);
}

#[test]
#[should_panic(expected = "cannot start redis: it ended (exit status: 1)")]
fn a_server_that_refuses_its_configuration_is_a_failed_test() {
    Redis::start_with(&["--set", "no-such-setting yes"]);
}
