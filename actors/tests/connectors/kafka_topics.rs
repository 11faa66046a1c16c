//! Topics are created as declared, checked where they exist, and known by their ids.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use telemill_actors::kafka::topics::{EnsuredTopic, ensure, identities, identity};
use telemill_engine::context::TopicDecl;
use telemill_engine::stage::BuildError;
use telemill_services::eventually;

use crate::kafka_support::{SOON, Site};

async fn ensured(site: &Site, name: &str) -> Result<EnsuredTopic, BuildError> {
    let ensured = ensure(&site.connection(), &[site.topics.get(name)]).await?;
    assert_eq!(ensured.len(), 1);
    Ok(ensured[0].clone())
}

/// A client whose questions nobody answers.
fn unanswered() -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", "127.0.0.1:1").create().unwrap()
}

fn declare_again(site: &mut Site, name: &str, set: impl FnOnce(&mut TopicDecl)) {
    set(site.topics.declared.get_mut(name).unwrap());
}

fn admin(site: &Site) -> AdminClient<DefaultClientContext> {
    site.connection().client_config().create().unwrap()
}

#[tokio::test]
async fn a_missing_topic_is_created_as_declared() {
    let mut site = Site::shared();
    let name = site.declare("declared", |topic| {
        topic.partitions = 5;
        topic.retention = Some(Duration::from_secs(3600));
        topic.min_insync_replicas = Some(1);
        topic.max_message_bytes = Some(2_000_000);
    });
    let topic = ensured(&site, &name).await.unwrap();
    assert_eq!((topic.name.as_str(), topic.partitions, topic.max_message_bytes), (name.as_str(), 5, 2_000_000));
    assert!(!topic.id.0.is_nil());

    let wanted = [ResourceSpecifier::Topic(&name)];
    let config = admin(&site).describe_configs(&wanted, &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    let value = |key: &str| config.get(key).unwrap().value.clone().unwrap();
    assert_eq!(value("retention.ms"), "3600000");
    assert_eq!(value("min.insync.replicas"), "1");
    assert_eq!(value("max.message.bytes"), "2000000");
}

#[tokio::test]
async fn topics_are_known_though_the_client_at_hand_waits_in_vain() {
    let mut site = Site::shared();
    let name = site.topic("t", 2);
    let topic = ensured(&site, &name).await.unwrap();
    let connection = site.connection();
    let asked = move || identities(&connection, unanswered().inner(), &[&name, "missing"], Duration::from_secs(10));
    let found = tokio::task::spawn_blocking(asked).await.unwrap().unwrap();
    assert_eq!(found, [Some((topic.id, 2)), None]);
}

#[tokio::test]
async fn topics_are_answered_in_the_order_asked_and_keep_their_ids() {
    let mut site = Site::shared();
    let names = ["c", "a", "b"].map(|prefix| site.topic(prefix, 2));
    let wanted = names.each_ref().map(|name| site.topics.get(name));
    let first = ensure(&site.connection(), &wanted).await.unwrap();
    assert_eq!(first.iter().map(|topic| &topic.name).collect::<Vec<_>>(), names.iter().collect::<Vec<_>>());
    assert_eq!(ensure(&site.connection(), &wanted).await.unwrap(), first);
    assert!(first[0].id != first[1].id && first[1].id != first[2].id);
}

#[tokio::test]
async fn two_at_once_create_a_topic_once() {
    let mut site = Site::shared();
    let name = site.topic("race", 3);
    let (one, other) = tokio::join!(ensured(&site, &name), ensured(&site, &name));
    assert_eq!(one.unwrap(), other.unwrap());
}

#[tokio::test]
async fn a_topic_made_again_has_another_id() {
    let mut site = Site::shared();
    let name = site.topic("again", 1);
    let before = ensured(&site, &name).await.unwrap();
    let connection = site.connection();
    assert_eq!(identity(&connection, &name).await.unwrap(), Some((before.id, 1)));
    admin(&site).delete_topics(&[&name], &AdminOptions::new()).await.unwrap();
    eventually(SOON, "the topic to be gone", async || {
        identity(&connection, &name).await.unwrap().is_none().then_some(())
    })
    .await;
    assert_ne!(ensured(&site, &name).await.unwrap().id, before.id);
}

#[tokio::test]
async fn a_topic_that_is_otherwise_is_refused_with_the_reason() {
    let mut site = Site::shared();
    let name = site.topic("other", 2);
    ensured(&site, &name).await.unwrap();

    let refused = async |site: &Site, expect: &str| match ensured(site, &name).await {
        Err(BuildError::Impossible(why)) => assert!(why.contains(expect), "{why}"),
        other => panic!("{other:?}"),
    };
    declare_again(&mut site, &name, |topic| topic.partitions = 3);
    refused(&site, "has 2 partitions, but 3 are declared").await;
    declare_again(&mut site, &name, |topic| (topic.partitions, topic.max_message_bytes) = (2, Some(5_000_000)));
    refused(&site, "max.message.bytes=1048588, but 5000000 is declared").await;
    declare_again(&mut site, &name, |topic| (topic.max_message_bytes, topic.min_insync_replicas) = (None, Some(2)));
    refused(&site, "min.insync.replicas=1, but 2 is declared").await;
    declare_again(&mut site, &name, |topic| {
        (topic.min_insync_replicas, topic.retention) = (None, Some(Duration::from_secs(1_000_000_000)));
    });
    ensured(&site, &name).await.expect("a shorter retention is only warned of");
}

#[tokio::test]
async fn more_replicas_than_brokers_are_impossible() {
    let mut site = Site::shared();
    let name = site.declare("replicas", |topic| topic.replication = 3);
    match ensured(&site, &name).await {
        Err(BuildError::Impossible(why)) => assert!(why.contains("lower `replication` or add brokers"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_unavailable_in_bounded_time() {
    // Bound and not listening: nobody else takes the port, and nobody answers on it.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut site = Site::on(&silent.local_addr().unwrap().to_string());
    let name = site.topic("silent", 1);
    let answer = tokio::time::timeout(Duration::from_secs(30), ensured(&site, &name)).await;
    match answer.expect("the answer comes in bounded time") {
        Err(BuildError::Unavailable(why)) => assert!(why.contains(&site.brokers), "{why}"),
        other => panic!("{other:?}"),
    }
}
