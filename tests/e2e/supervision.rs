//! A record that cannot be written, a service that is gone, a topology that cannot go on: three different things.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use serde_json::json;
use telemill_services::{Kafka, Mosquitto, Redis, wait_until};

use crate::support::{DEADLINE, Publisher, Reader, Site, Store, Telemill, Truth, by_night, let_pass};

#[test]
fn a_record_that_cannot_be_written_is_dead_lettered_and_its_neighbours_arrive_in_order() {
    let site = Site::new("poison");
    let telemill = Telemill::run(&site);
    let mut store = Store::new(&site.redis);
    let (spoilt, well) = (site.device(1), site.device(2));
    let mut publisher = Publisher::connect(&site.mqtt);
    let mut truth = Truth::new();
    let mut send = |device: &str| {
        let payload = truth.payload(device);
        publisher.send(&site.mqtt_topic(device, "data"), payload.clone());
        payload
    };
    let mut of_the_well: Vec<String> = (0..5).map(|_| send(&well)).collect();
    store.spoil(&spoilt);
    let poison: Vec<String> = (0..3).map(|_| send(&spoilt)).collect();
    of_the_well.extend((0..5).map(|_| send(&well)));
    let (reader, dead_letters) = (Reader::new(&site.kafka), site.topic("data-dlq"));
    wait_until(DEADLINE, "three dead letters", || (reader.count(&dead_letters) == 3).then_some(()));
    let dead = reader.all(&dead_letters);
    for (letter, payload) in dead.iter().zip(&poison) {
        assert!(letter.text().contains(payload.as_str()), "the order of {dead:?}");
        assert_eq!(letter.header("dead-reason"), "wrong_type");
        assert_eq!(letter.header("dead-stage"), "writer");
        assert_eq!(letter.header("dead-attempts"), "3", "{letter:?}");
        assert_eq!(letter.key.as_deref(), Some(spoilt.as_str()));
        assert!(letter.header("dead-source").split('/').count() == 3, "{letter:?}");
    }
    // The device's next records follow as soon as they can be written.
    store.mend(&spoilt);
    let after = send(&spoilt);
    wait_until(DEADLINE, "the record after the poison", || {
        (store.last_state(&spoilt).get("payload") == Some(&after)).then_some(())
    });
    assert_eq!(store.history(&spoilt).len(), 1);
    let written: Vec<String> = store.history(&well).into_iter().map(|(_, message)| message).collect();
    assert_eq!(written.len(), of_the_well.len());
    assert!(
        written.iter().zip(&of_the_well).all(|(message, payload)| message.contains(payload.as_str())),
        "{written:?}"
    );
    assert_eq!(telemill.ledger("writer")["dead_lettered"], json!({ "wrong_type": 3 }));
    telemill.ledgers_balance();
    telemill.drain();
}

#[test]
fn an_outage_of_any_service_dead_letters_nothing() {
    let away = Duration::from_secs(by_night(6, 60));
    let (mosquitto, kafka, redis) = (Mosquitto::start(), Kafka::start(), Redis::start());
    let site = Site::with("outage", Some(&mosquitto), Some(&kafka), Some(&redis));
    let telemill = Telemill::run(&site);
    let mut publisher = Publisher::connect(&site.mqtt);
    let mut truth = Truth::new();
    let mut burst = |truth: &mut Truth| {
        for n in 0..1000 {
            let device = site.device(n % 50);
            let payload = truth.payload(&device);
            publisher.send(&site.mqtt_topic(&device, "data"), payload);
        }
        // So that a cut asks nothing of the publisher, whose repetitions nobody could tell from records.
        publisher.settled();
    };
    for server in [&*redis, &*kafka, &*mosquitto] {
        burst(&mut truth);
        server.terminate();
        if server.port() != mosquitto.port() {
            burst(&mut truth);
        }
        let_pass(away);
        server.restart();
        burst(&mut truth);
    }
    let log = truth.is_in_the_log(&site, 3, DEADLINE);
    truth.is_in_the_store(&site, &log, DEADLINE);
    assert_eq!(Reader::new(&site.kafka).count(&site.topic("data-dlq")), 0);
    assert!(telemill.logged("topology_failed").is_empty());
    telemill.ledgers_balance();
    telemill.drain();
}

fn admin(brokers: &str) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", brokers).create().expect("the settings are good")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

#[test]
fn a_topology_that_cannot_go_on_says_why_and_ends_the_process() {
    let redis = Redis::start();
    let mut site = Site::with("broken", None, None, Some(&redis));
    site.edit("drain_deadline: 30s", "drain_deadline: 5s");
    let mut telemill = Telemill::run(&site);
    // With Redis standing still the drain takes as long as it may, so that there is time to look.
    redis.stop();
    let topic = site.topic("data");
    runtime().block_on(admin(&site.kafka).delete_topics(&[&topic], &AdminOptions::new())).expect("it is deleted");
    let reasons = wait_until(DEADLINE, "a topology that has failed", || {
        let answer = telemill.http.get("/readyz");
        (answer.status == 503 && answer.body.contains("\"failed\"")).then(|| answer.json())
    });
    assert!(reasons["reasons"].to_string().contains(&topic), "{reasons}");
    assert_eq!(telemill.http.get("/livez").status, 200);
    assert_eq!(telemill.exit_code(DEADLINE), 1);
    assert!(!telemill.logged("topology_failed").is_empty());
    redis.cont();
}

#[test]
fn a_stage_that_fails_too_often_fails_the_topology() {
    let (kafka, redis) = (Kafka::start(), Redis::start());
    let mut site = Site::with("escalates", None, Some(&kafka), Some(&redis));
    site.edit(
        "max_restarts: 5, within: 60s, backoff: { initial: 100ms",
        "max_restarts: 2, within: 60s, backoff: { initial: 1s",
    );
    site.edit("drain_deadline: 30s", "drain_deadline: 5s");
    let mut telemill = Telemill::run(&site);
    let (mut store, mut publisher) = (Store::new(&site.redis), Publisher::connect(&site.mqtt));
    let device = site.device(1);
    let mut send = || publisher.send(&site.mqtt_topic(&device, "data"), r#"{"temperature":20}"#);
    send();
    wait_until(DEADLINE, "a guard", || (!store.last_state(&device).is_empty()).then_some(()));
    // A guard of a later version: the writer refuses it, and does so again however often it is built.
    store.forge_guards(&site.name, "writer");
    send();
    wait_until(DEADLINE, "the first restart", || telemill.logged("stage_restart").first().cloned());
    // With Kafka standing still the drain takes as long as it may, so that there is time to look.
    kafka.stop();
    let reasons = wait_until(DEADLINE, "a topology that has failed", || {
        let answer = telemill.http.get("/readyz");
        (answer.status == 503 && answer.body.contains("\"failed\"")).then(|| answer.json())
    });
    let text = reasons["reasons"].to_string();
    assert!(text.contains("writer") && text.contains("more than 2 restarts"), "{reasons}");
    assert_eq!(telemill.exit_code(DEADLINE), 1);
    let restarted = telemill.logged("stage_restart");
    assert_eq!(restarted.iter().filter(|line| line["stage"] == "writer").count(), 2, "{restarted:?}");
    kafka.cont();
}

#[test]
fn a_second_instance_of_a_topology_is_refused_while_the_first_goes_on() {
    let site = Site::new("second");
    let mut first = Telemill::run(&site);
    let mut second = Telemill::start(&site);
    assert_eq!(second.exit_code(DEADLINE), 1);
    let why = second.logged("deploy_failed");
    let pid = first.pid().to_string();
    assert!(why.len() == 1 && why[0]["error"].as_str().is_some_and(|why| why.contains(&pid)), "{why:?}");
    first.until_ready();
    first.drain();
}

#[test]
fn a_topic_with_other_partitions_keeps_the_topology_from_starting() {
    let site = Site::new("partitions");
    let topic = site.topic("data");
    let new = NewTopic::new(&topic, 5, TopicReplication::Fixed(1));
    runtime().block_on(admin(&site.kafka).create_topics([&new], &AdminOptions::new())).expect("it is created");
    let mut telemill = Telemill::start(&site);
    assert_eq!(telemill.exit_code(DEADLINE), 1);
    let log = telemill.log();
    assert!(log.contains(&topic) && log.contains('5') && log.contains("partitions"), "{log}");
}
