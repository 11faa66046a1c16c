//! What an operator sees while something that the topology needs is away: nothing is written meanwhile, so every stage
//! has to find out by itself.

use serde_json::Value;
use telemill_services::{Kafka, Mosquitto, Redis, wait_until};

use crate::support::{DEADLINE, Reader, Site, Telemill};

/// The stages that wait, each with what for; the topology itself under its own name.
fn waiting(answer: &Value) -> Vec<(String, String)> {
    let reasons = answer["reasons"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let waiting = reasons.filter(|reason| reason["state"]["state"] == "waiting");
    let named =
        |reason: &Value| if reason["stage"].is_null() { reason["topology"].clone() } else { reason["stage"].clone() };
    waiting.map(|reason| (text(&named(reason)), text(&reason["state"]["why"]))).collect()
}

#[test]
fn a_service_that_is_away_shows_in_readiness_until_it_is_back() {
    let (mosquitto, kafka, redis) = (Mosquitto::start(), Kafka::start(), Redis::start());
    let site = Site::with("readiness", Some(&mosquitto), Some(&kafka), Some(&redis));
    let mut telemill = Telemill::run(&site);
    let mqtt = ["ingress", "sessions.commands"];
    let log = ["router", "alert_stream", "dead_letters", "events", "to_store"];
    let store = ["writer", &site.name];
    for (server, stages) in [(&*mosquitto, &mqtt[..]), (&*kafka, &log[..]), (&*redis, &store[..])] {
        server.terminate();
        let port = format!(":{}", server.port());
        let answer = wait_until(DEADLINE, &format!("{stages:?} to wait"), || {
            let answer = telemill.http.get("/readyz");
            let waiting = waiting(&answer.json());
            let waits = |stage: &&str| waiting.iter().any(|(name, why)| name == stage && why.contains(&port));
            (answer.status == 503 && stages.iter().all(waits)).then_some(waiting)
        });
        assert!(answer.iter().all(|(name, _)| stages.contains(&name.as_str())), "only those wait: {answer:?}");
        assert_eq!(telemill.http.get("/livez").status, 200);
        server.restart();
        telemill.until_ready();
    }
    assert!(telemill.logged("stage_restart").is_empty(), "an outage is no failure");
    assert_eq!(Reader::new(&site.kafka).count(&site.topic("data-dlq")), 0);
    telemill.drain();
}
