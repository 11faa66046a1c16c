//! What a broker lets through and is no record ends in the dead letters, with its reason and its raw bytes.

use std::collections::BTreeMap;

use telemill_services::wait_until;

use crate::support::{DEADLINE, LogRecord, Publisher, Reader, Site, Telemill, Truth};

const MAX_PAYLOAD: usize = 256 << 10;
const MAX_DEPTH: usize = 64;

/// JSON of exactly so many bytes.
fn of_size(bytes: usize) -> String {
    let (before, after) = (r#"{"text":""#, r#""}"#);
    format!("{before}{}{after}", "x".repeat(bytes - before.len() - after.len()))
}

fn of_depth(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

#[test]
fn bad_input_is_dead_lettered_with_its_bytes_and_its_neighbours_arrive() {
    let site = Site::new("bad");
    let telemill = Telemill::run(&site);
    let mut publisher = Publisher::connect(&site.mqtt);
    let mut truth = Truth::new();
    let device = site.device(1);
    let topic = site.mqtt_topic(&device, "data");
    let long_id = "x".repeat(10_000);

    let bad: Vec<(&str, String, Vec<u8>)> = vec![
        ("not_json", topic.clone(), b"{\"temperature\":".to_vec()),
        ("not_json", topic.clone(), b"21 degrees".to_vec()),
        ("empty", topic.clone(), Vec::new()),
        ("too_deep", topic.clone(), of_depth(MAX_DEPTH + 1).into_bytes()),
        ("too_large", topic.clone(), of_size(MAX_PAYLOAD + 1).into_bytes()),
        ("not_utf8", topic.clone(), b"{\"text\":\"\xff\xfe\"}".to_vec()),
        ("bad_device_id", site.mqtt_topic(&long_id, "data"), b"{}".to_vec()),
        ("bad_device_id", site.mqtt_topic("white space", "data"), b"{}".to_vec()),
    ];
    for (_, topic_of_bad, payload) in &bad {
        publisher.send(&topic, truth.payload(&device));
        publisher.send(topic_of_bad, payload.clone());
    }
    publisher.send(&topic, truth.note(&device, &of_size(MAX_PAYLOAD)));
    publisher.send(&topic, truth.note(&device, &of_depth(MAX_DEPTH)));
    // Of a `hello` any body will do.
    publisher.send(&site.mqtt_topic(&device, "hello"), *b"\xff not JSON");
    publisher.settled();

    let log = truth.is_in_the_log(&site, 3, DEADLINE);
    truth.is_in_the_store(&site, &log, DEADLINE);
    let (reader, dead_letters) = (Reader::new(&site.kafka), site.topic("data-dlq"));
    wait_until(DEADLINE, "the dead letters", || (reader.count(&dead_letters) >= bad.len() as i64).then_some(()));
    let mut dead = reader.all(&dead_letters);
    let delivery = |record: &LogRecord| record.header("delivery").parse::<u64>().expect("a number");
    dead.sort_by_key(delivery);
    assert_eq!(dead.len(), bad.len());
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    for (letter, (reason, topic, payload)) in dead.iter().zip(&bad) {
        assert_eq!(letter.header("dead-reason"), *reason);
        assert!(letter.value == *payload, "{reason}: the bytes of {letter:?}");
        assert_eq!(letter.header("dead-source"), topic);
        assert_eq!(letter.header("dead-stage"), "ingress");
        assert!(!letter.header("dead-detail").is_empty());
        assert_eq!(letter.key.as_ref(), (*reason != "bad_device_id").then_some(&device));
        *reasons.entry(reason).or_default() += 1;
    }
    let ledger = telemill.ledger("ingress");
    assert_eq!(ledger["dead_lettered"], serde_json::json!(reasons));
    let metrics = telemill.http.get("/metrics").body;
    let line =
        metrics.lines().find(|line| line.contains("dead_lettered_total") && line.contains(r#"reason="not_utf8""#));
    assert!(line.is_some_and(|line| line.ends_with(" 1")), "{line:?}");

    let hello = reader.all(&site.topic("hello"));
    assert_eq!(hello.len(), 1);
    assert!(hello[0].text().contains(r#""payload":null,"#), "{}", hello[0].text());
    telemill.ledgers_balance();
    telemill.drain();
}
