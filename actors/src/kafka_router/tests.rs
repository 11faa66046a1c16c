use telemill_engine::context::{Connection, Connections, TopicDecl, Topics};

use super::*;

fn check(spec: &str) -> Result<CheckedRouter, Vec<String>> {
    let spec: KafkaRouterSpec = serde_json::from_str(spec).unwrap();
    let mut topics = Topics::default();
    let three = TopicDecl { name: "three".into(), partitions: 3, ..topics.defaults.clone() };
    topics.declared.insert("three".into(), three);
    let mut problems = Vec::new();
    let mut connections = Connections::new();
    let mut cx = CheckContext {
        name: "router",
        inputs: &[],
        connections: &Connections::new(),
        topics: &topics,
        problems: &mut problems,
    };
    let log = serde_json::from_str(r#"{"brokers":["127.0.0.1:9092"]}"#).unwrap();
    let log = KafkaConnection::check(log, &mut cx).unwrap();
    connections.insert("log", Arc::new(log));
    cx.connections = &connections;
    let checked = KafkaRouter::check(spec, &mut cx);
    checked.ok_or_else(|| problems.into_iter().map(|p| format!("{} {}", p.at, p.code)).collect())
}

#[test]
fn problems_are_reported_at_their_place() {
    let refused = |spec: &str, expect: &[&str]| {
        let problems = check(spec).err().unwrap_or_default();
        assert_eq!(problems, expect, "{spec}");
    };
    refused(r#"{"connection":"log"}"#, &[" kafka_router::no_target"]);
    refused(r#"{"connection":"log","topic":"a","routes":{"data":"b"}}"#, &[" kafka_router::two_targets"]);
    refused(r#"{"connection":"log","routes":{}}"#, &["routes kafka_router::no_target"]);
    refused(r#"{"connection":"log","topic":"a/b"}"#, &["topic kafka::bad_topic"]);
    refused(r#"{"connection":"no","topic":"a"}"#, &["connection topology::unknown_connection"]);
    refused(r#"{"connection":"log","topic":"a","buffer":"5B"}"#, &["buffer kafka::bad_buffer"]);
    refused(
        r#"{"connection":"log","routes":{"data":"a","hello":"three","mark":"m","x":".."}}"#,
        &[
            "routes.hello kafka_router::partitions_differ",
            "routes.mark kafka_router::bad_kind",
            "routes.x kafka::bad_topic",
        ],
    );
}

#[test]
fn any_other_key_is_refused() {
    let refused = serde_json::from_str::<KafkaRouterSpec>(r#"{"connection":"log","topic":"a","key":"tenant"}"#);
    assert!(refused.unwrap_err().to_string().contains("device_id"));
}

#[test]
fn kinds_may_share_a_topic() {
    let checked = check(r#"{"connection":"log","routes":{"data":"a","hello":"b","status":"a"}}"#).ok().unwrap();
    assert_eq!(checked.topics, ["a", "b"]);
    let Route::ByKind(routes) = &checked.route else { panic!() };
    assert_eq!(routes.iter().map(|(_, topic)| *topic).collect::<Vec<_>>(), [0, 1, 0]);
}
