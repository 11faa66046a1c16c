//! Records of many devices go from MQTT to Kafka and to Redis, each once, byte for byte, in order.

use std::time::Duration;

use telemill_services::wait_until;

use crate::support::{DEADLINE, Reader, Site, Store, Telemill, Truth, Updates, by_night, paho};

const DEVICES: usize = 1000;
const HISTORY: Duration = Duration::from_secs(5 * 3600);
/// What the dashboards are built on; those of dead letters, retries and the like appear with their first event.
const METRICS: &[&str] = &[
    "records_received_total",
    "records_forwarded_total",
    "records_absorbed_total",
    "records_in_flight",
    "records_produced_total",
    "stage_time_seconds_total",
    "mailbox_records",
    "mailbox_capacity_records",
    "batch_records_bucket",
    "stage_duration_seconds_bucket",
    "end_to_end_seconds_bucket",
    "sessions_active",
    "devices_online",
    "alerts",
    "kafka_lag_records",
    "deploy_last_successful",
    "build_info",
];

#[test]
fn every_record_arrives_once_everywhere_as_the_contract_says() {
    let records = by_night(20_000, 100_000);
    let deadline = Duration::from_secs(by_night(120, 600));
    let mut site = Site::new("pipeline");
    site.edit("partitions: 3", "partitions: 12");
    let mut store = Store::new(&site.redis);
    let updates = Updates::subscribe(&site.redis, site.prefix());
    let old_device = site.device(7);
    // Longer ago than history goes back.
    store.add_history(&old_device, 1_600_000_000, "long ago");
    let telemill = Telemill::run(&site);

    let mut truth = Truth::new();
    let messages: Vec<_> = (0..records)
        .map(|n| {
            let device = site.device(n * 7919 % DEVICES);
            (site.mqtt_topic(&device, "data"), truth.payload(&device))
        })
        .collect();
    paho(&site.mqtt, messages);

    let log = truth.is_in_the_log(&site, 12, deadline);
    truth.is_in_the_store(&site, &log, deadline);
    let heard = updates.when(records);
    for (device, records) in &log {
        let messages: Vec<&str> = records.iter().map(|record| record.text()).collect();
        assert_eq!(heard[device], messages, "notifications of {device}");
    }
    assert_eq!(heard.values().map(Vec::len).sum::<usize>(), records);
    let ttl = store.history_ttl(&old_device);
    assert!((1..=HISTORY.as_secs() as i64).contains(&ttl), "history expires in {ttl} s");

    let reader = Reader::new(&site.kafka);
    for group in [site.prefix().to_owned(), format!("{}-writer", site.prefix())] {
        wait_until(DEADLINE, "offsets committed to the end", || {
            (reader.lag(&group, &site.topic("data")) == 0).then_some(())
        });
    }
    telemill.ledgers_balance();
    for stage in ["ingress", "router", "events", "sessions", "to_store", "writer"] {
        let ledger = telemill.ledger(stage);
        assert!(ledger["received"].as_u64() >= Some(records as u64), "{stage} received {ledger}");
        assert_eq!(ledger["dead_lettered"], serde_json::json!({}), "{stage}");
    }
    assert_eq!(reader.count(&site.topic("data-dlq")), 0);
    // Some are looked up now and then.
    let metrics = || telemill.http.get("/metrics").body;
    for name in METRICS {
        let line = format!("telemill_{name}");
        wait_until(DEADLINE, &line, || metrics().lines().any(|found| found.starts_with(&line)).then_some(()));
    }
    let metrics = metrics();
    assert!(!metrics.contains(&site.device(7)), "a metric has a device in it");
    telemill.drain();
}
