//! What nobody tells a source: that a broker stands still, that nothing comes any more, that a topic is another one.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminOptions, NewPartitions};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::statistics::{ConsumerGroup, Statistics};
use rdkafka::{ClientConfig, ClientContext};
use telemill_engine::source::{Acker, ResumeAt, SourceError, SourceEvent};
use telemill_engine::stage::BuildError;
use telemill_services::{Kafka, eventually};

use super::driven::{Driven, numbers};
use super::fixture::{DEADLINE, Fixture, Options};
use crate::kafka_support::FetchHole;

const START: u64 = 1_700_000_000_000;

/// Reads until this record has come; partitions may have to be assigned anew before.
async fn read_until(source: &mut Driven, last: u64) -> Result<(), SourceError> {
    loop {
        match source.next(10).await? {
            SourceEvent::Batch(batch) => {
                source.acknowledge(&batch).await;
                if numbers(&batch.records).contains(&last) {
                    return Ok(());
                }
            }
            SourceEvent::Assigned { partitions, reply } => {
                let _ = reply.send(partitions.iter().map(|p| (*p, ResumeAt::Committed)).collect());
            }
            SourceEvent::Revoked { done, .. } => drop(done.send(())),
            SourceEvent::End => panic!("it has not ended"),
        }
    }
}

/// The coordinator, too, stands still for longer than the session may last without a heartbeat.
#[tokio::test]
async fn a_broker_that_stands_still_is_waited_for() {
    let kafka = Kafka::start();
    let fixture = Fixture::on(&kafka.brokers(), 1, 1);
    fixture.create_topics().await;
    let options = Options { session_timeout: Some("6s"), ..Options::default() };
    let mut source = fixture.build(options).await.unwrap();
    source.assigned(ResumeAt::Committed).await;
    fixture.produce(&fixture.topics[0], 0, 0, START).await;
    let batch = source.batch(10).await;
    kafka.stop();
    source.acknowledge(&batch).await;
    let cont_at = Instant::now() + Duration::from_secs(9);
    // Without a heartbeat for so long the client takes its session for lost; that is no failure.
    while let Some(event) = source.within(cont_at.saturating_duration_since(Instant::now())).await {
        let SourceEvent::Revoked { done, .. } = event else { panic!("{event:?} of a broker that stands still") };
        let _ = done.send(());
    }
    kafka.cont();
    fixture.produce(&fixture.topics[0], 0, 1, START + 1).await;
    read_until(&mut source, 1).await.unwrap();
    fixture.until_committed(0, &[2]).await;
    source.close().await;
}

/// A client that waits for its broker may hang while it is closed, and whoever waits for it with it.
#[tokio::test]
async fn a_source_is_closed_in_time_while_its_broker_stands_still() {
    let kafka = Kafka::start();
    let fixture = Fixture::on(&kafka.brokers(), 1, 1);
    fixture.create_topics().await;
    let mut source = fixture.start().await;
    source.assigned(ResumeAt::Committed).await;
    fixture.produce(&fixture.topics[0], 0, 0, START).await;
    let batch = source.batch(10).await;
    kafka.stop();
    source.acknowledge(&batch).await;
    let closed = tokio::time::timeout(DEADLINE, source.acker.close()).await.expect("it has its own deadline");
    assert!(matches!(closed, Err(SourceError::Unavailable(_))), "{closed:?}");
    kafka.cont();
    // The last commit may have reached the broker all the same.
    fixture.produce(&fixture.topics[0], 0, 1, START + 1).await;
    // Built again where the cluster is not there yet, or where the client got stuck over that, as the engine would.
    let source = eventually(DEADLINE, "the broker to answer again", async || {
        let mut source = match fixture.build(Options::default()).await {
            Err(BuildError::Unavailable(_)) => return None,
            built => built.unwrap(),
        };
        match read_until(&mut source, 1).await {
            Err(SourceError::Unavailable(why)) if why.contains("does not ask for again") => None,
            read => read.map(|()| Some(source)).unwrap(),
        }
    });
    source.await.close().await;
}

/// A source is taken for stuck by words of the client library's statistics, which nothing but the library fixes.
#[tokio::test]
async fn a_member_says_how_it_stands_with_its_group() {
    #[derive(Default)]
    struct Heard(Mutex<Option<ConsumerGroup>>);
    impl ClientContext for Heard {
        fn stats(&self, statistics: Statistics) {
            *self.0.lock().unwrap() = statistics.cgrp;
        }
    }
    impl ConsumerContext for Heard {}
    let fixture = Fixture::new(1, 1);
    fixture.create_topics().await;
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &fixture.brokers).set("group.id", &fixture.group);
    config.set("statistics.interval.ms", "100");
    let member: BaseConsumer<Heard> = config.create_with_context(Heard::default()).unwrap();
    member.subscribe(&[&fixture.topics[0]]).unwrap();
    let stands = async || {
        let _ = member.poll(Duration::from_millis(100));
        let group = member.context().0.lock().unwrap().take()?;
        (group.state == "up" && group.join_state == "steady").then_some(())
    };
    eventually(DEADLINE, "the member to be `up` and `steady`", stands).await;
}

/// The connection over which the source reads is half open, while the coordinator answers on another one: nothing else
/// would ever notice.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_gives_nothing_although_there_is_something_has_the_source_built_again() {
    let hole = FetchHole::bind().await;
    let advertised = format!("advertised.listeners=PLAINTEXT://{}", hole.address());
    let kafka = Kafka::start_with(&["--set", &advertised]);
    let (address, hole) = (hole.address(), hole.open_to(kafka.port()));
    let fixture = Fixture::on(&address, 1, 1);
    fixture.create_topics().await;
    let mut source = fixture.start().await;
    source.assigned(ResumeAt::Committed).await;
    fixture.produce(&fixture.topics[0], 0, 0, START).await;
    let batch = source.batch(10).await;
    source.acknowledge(&batch).await;
    fixture.until_committed(0, &[1]).await;
    hole.swallow().await;
    fixture.produce(&fixture.topics[0], 0, 1, START + 1).await;
    fixture.produce(&fixture.topics[0], 0, 2, START + 2).await;
    // It is patient for 30 s, and looks every 5 s with calls that may take 10 s each.
    let error = source.failure_within(2 * DEADLINE).await;
    let SourceError::Unavailable(why) = &error else { panic!("{error:?}") };
    assert!(why.contains("no message of topic") && why.contains(&fixture.topics[0]), "{why}");
    drop(source);
    hole.let_through();
    let mut source = fixture.start().await;
    read_until(&mut source, 2).await.unwrap();
    source.close().await;
}

#[tokio::test]
async fn a_topic_that_gets_more_partitions_stops_the_source() {
    let fixture = Fixture::new(2, 1);
    fixture.create_topics().await;
    let mut source = fixture.start().await;
    source.assigned(ResumeAt::Committed).await;
    let grown = &fixture.topics[1];
    let grow = [NewPartitions::new(grown, 2)];
    let grown_topics = fixture.admin().create_partitions(&grow, &AdminOptions::new()).await.unwrap();
    grown_topics.into_iter().for_each(|topic| drop(topic.unwrap()));
    let error = source.failure().await;
    let SourceError::Broken(why) = &error else { panic!("{error:?}") };
    assert!(why.contains(grown) && why.contains("partitions"), "{why}");
}

#[tokio::test]
async fn a_topic_that_is_deleted_stops_the_source() {
    let fixture = Fixture::new(2, 1);
    fixture.create_topics().await;
    let mut source = fixture.start().await;
    source.assigned(ResumeAt::Committed).await;
    fixture.delete_topic(&fixture.topics[1]).await;
    let error = source.failure().await;
    let SourceError::Broken(why) = &error else { panic!("{error:?}") };
    assert!(why.contains(&fixture.topics[1]), "{why}");
}
